//! `cargo xtask demo`: three real credentials rotate, end to end, on servers of the demo's own.

mod host;
mod scene;

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::demo::host::Host;
use crate::demo::scene::Scene;
use crate::{plugins, process};

/// Nothing to choose.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(root: &Path, _options: &Options) -> anyhow::Result<bool> {
    say(
        "build the host and the plugins (the first time about 10 minutes on two cores; the rest takes about one)",
    );
    ensure!(
        process::cargo(root)
            .args(["build", "--locked", "-p", "keywheel-cli"])
            .status()?
            .success(),
        "the host does not build"
    );
    let built = plugins::run(root, &plugins::Options::default())?;
    let binary = root.join("target/debug/keywheel");

    say(
        "start PostgreSQL and Redis on free ports of 127.0.0.1 (Debian's packages are installed where they are missing)",
    );
    let scene = Scene::start()?;
    println!(
        "PostgreSQL: port {}; Redis: port {}; both with TLS",
        scene.postgres.port(),
        scene.redis.port()
    );

    let folder = tempfile::Builder::new().prefix("keywheel-demo-").tempdir()?;
    let host = Host::new(binary, folder.path().to_owned());
    postgres(&host, &scene, &built)?;
    killed(&host, &scene)?;
    connection_string(&host, &scene)?;
    redis(&host, &scene, &built)?;

    say("the audit trail holds together, and knows every use of a secret");
    host.run(&["audit", "verify"], None)?;
    host.run(&["status"], None)?;
    say("stop the servers and remove the temporary folder");
    drop(scene);
    folder.close().context("cannot remove the temporary folder")?;
    println!("demo: ok");
    Ok(true)
}

/// A role is taken over, planned, rotated, proved.
fn postgres(host: &Host, scene: &Scene, built: &Path) -> anyhow::Result<()> {
    say("a new host: folders, an encrypted vault, a recovery identity to be kept off this machine");
    host.run(&["init", ".", "--recovery-to", "recovery-identity"], None)?;
    host.drop_plugin(&built.join("postgres.wasm"))?;
    host.configure(&scene.postgres_rotation())?;
    say("a plugin runs only after a person has seen what it asks for");
    host.run(&["plugin", "list"], None)?;
    host.run(&["plugin", "add", "postgres", "--yes"], None)?;
    say("take the two existing passwords over; the role's is verified by a login and left as it is");
    host.run(
        &["secret", "import", "admin/db", "-"],
        Some(scene.postgres.admin_password()),
    )?;
    host.run(&["secret", "import", "app/db", "-"], Some(&scene.role_password))?;
    say("what would happen, and what stays valid in each step");
    host.run(&["plan", "app-db"], None)?;
    say("rotate");
    host.run(&["rotate", "app-db", "--wait", "end"], None)?;
    host.run(&["run", "show", "app-db"], None)?;
    say("prove it with psql");
    scene.role_opens_with(&host.value("app/db")?, "the new password")?;
    scene.role_refuses(&scene.role_password, "the old password")
}

/// The host is killed in the middle, and recovers.
fn killed(host: &Host, scene: &Scene) -> anyhow::Result<()> {
    say("rotate again, and kill the host with SIGKILL as soon as it begins to change the role");
    let before = host.value("app/db")?;
    host.kill_in_the_middle("app-db")?;
    say("whatever the kill cut off: the run goes on, asks the target first, and ends well");
    host.run(&["run", "show", "app-db"], None)?;
    host.run(&["run", "resume", "app-db", "--wait", "end"], None)?;
    let after = host.value("app/db")?;
    ensure!(after != before, "the run ended, and the password is the same");
    scene.role_opens_with(&after, "the password after the kill")?;
    scene.role_refuses(&before, "the password before the kill")
}

/// Two roles in turn, whose secret is a connection string: the old one works until its grace is over.
fn connection_string(host: &Host, scene: &Scene) -> anyhow::Result<()> {
    say(
        "an application that reads one connection string: two roles in turn, and the first string is made by a template",
    );
    host.configure(&format!("{}{}", scene.postgres_rotation(), scene.pair_rotation()))?;
    host.run(&["rotate", "pair-db", "--wait", "end"], None)?;
    let before = host.value("pair/db")?;
    scene.string_opens(&before, "the first string")?;
    say("rotate it: user name and password change together, every other byte stays");
    host.run(&["plan", "pair-db"], None)?;
    host.run(&["rotate", "pair-db", "--wait", "0s"], None)?;
    let after = host.value("pair/db")?;
    scene.string_opens(&after, "the new string")?;
    scene.string_opens(&before, "within the grace the old one")?;
    host.run(&["run", "resume", "pair-db", "--wait", "end"], None)?;
    scene.string_is_refused(&before, "after it the old one")
}

/// A plugin that the host has never seen.
fn redis(host: &Host, scene: &Scene, built: &Path) -> anyhow::Result<()> {
    say("until now this host knew nothing of Redis: drop one file into its folder");
    host.drop_plugin(&built.join("redis.wasm"))?;
    host.run(&["plugin", "list"], None)?;
    host.run(&["plugin", "add", "redis", "--yes"], None)?;
    host.configure(&format!(
        "{}{}{}",
        scene.postgres_rotation(),
        scene.pair_rotation(),
        scene.redis_rotation()
    ))?;
    host.run(
        &["secret", "import", "admin/redis", "-"],
        Some(scene.redis.admin_password()),
    )?;
    host.run(
        &["secret", "import", "app/redis", "-"],
        Some(&scene.user_password),
    )?;
    host.run(&["plan", "app-redis"], None)?;
    host.run(&["rotate", "app-redis", "--wait", "end"], None)?;
    host.run(&["run", "show", "app-redis"], None)?;
    say("prove it with redis-cli");
    scene.user_opens_with(&host.value("app/redis")?, "the new password")?;
    scene.user_refuses(&scene.user_password, "the old password")
}

fn say(what: &str) {
    println!("\n=== {what}");
}
