//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Host;

/// The built `keywheel`: the one that `cargo xtask test` names, or else built here, once a process.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| named_or_built("KEYWHEEL_BINARY", "keywheel", &[]))
}

/// The same with failpoints: it dies where it is told to.
///
/// # Panics
/// When it cannot be built.
pub fn failing_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let more = ["--features", "failpoints"];
    BINARY.get_or_init(|| named_or_built("KEYWHEEL_FAILPOINTS_BINARY", "keywheel-failpoints", &more))
}

fn named_or_built(variable: &str, name: &str, more: &[&str]) -> PathBuf {
    if let Some(built) = std::env::var_os(variable) {
        return PathBuf::from(built);
    }
    let mut build = keywheel_kit::cargo();
    build
        .args(["build", "-q", "--locked", "-p", "keywheel-cli", "--bin", name])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{name} does not build");
    // target/PROFILE/deps/TEST
    let own = std::env::current_exe().unwrap();
    let built = own.parent().unwrap().parent().unwrap().join(name);
    assert!(built.is_file(), "{} is missing", built.display());
    built
}

impl Host {
    /// A command of this host, by the build that dies of `SIGKILL` at the places that the orders name (`save-after=return`).
    pub fn failing(&self, arguments: &[&str], orders: &str) -> Command {
        let shipped = self.command(arguments);
        let mut failing = Command::new(failing_binary());
        failing.args(shipped.get_args()).current_dir(self.folder());
        let set = shipped.get_envs();
        failing.envs(set.filter_map(|(name, value)| Some((name, value?))));
        failing.env_remove("RUST_LOG").env("FAILPOINTS", orders);
        failing
    }
}
