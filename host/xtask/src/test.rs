//! `cargo xtask test`: builds the plugins, runs every test of both workspaces, and sums the runners' closing lines.

mod suites;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use keywheel_kit::Server;

use crate::{plugins, process};
use suites::Suite;

const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// What to hand on.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// In place of the tests of this repository: those of one target on a server of yours, which the environment names (docs/operators.md).
    #[arg(long, value_name = "TARGET", value_enum)]
    live: Option<Live>,
    /// Handed to `cargo test` of the host's workspace: a filter, `-p CRATE`, `-- --nocapture`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A target whose server can be one's own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Live {
    /// SQL Server, at KEYWHEEL_LIVE_MSSQL (host:port).
    Mssql,
}

impl Live {
    /// What names the server; the test program.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Mssql => ("KEYWHEEL_LIVE_MSSQL", "mssql_live"),
        }
    }
}

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
}

impl Sum {
    /// Adds a runner's closing line: `test result: ok. 3 passed; 0 failed; …`.
    fn see(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |word: &str| {
            let before = result
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word));
            before
                .and_then(|number| number.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
    }
}

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    let mut arguments = options.arguments.clone();
    if let Some(live) = options.live {
        let (variable, test) = live.names();
        anyhow::ensure!(
            std::env::var_os(variable).is_some(),
            "{variable} names no server: what it is to be given stands in docs/operators.md"
        );
        let words = [
            "-p",
            "keywheel-e2e",
            "--test",
            test,
            "--",
            "--ignored",
            "--nocapture",
        ];
        arguments.splice(..0, words.map(str::to_owned));
    }
    let (shipped, hostile) = (
        plugins::run(root, &plugins::Options::default())?,
        plugins::hostile(root)?,
    );
    let guests = vec![("KEYWHEEL_PLUGINS", shipped), ("KEYWHEEL_HOSTILE", hostile)];
    let mut sum = Sum::default();
    let well = if arguments.is_empty() {
        println!(
            "test: on two cores the first build takes about 12 minutes, and the tests then about 20; each prints when it ends"
        );
        whole(root, guests, &mut sum)?
    } else {
        some(root, &guests, &arguments, &mut sum)?
    };
    if !well && sum.failed == 0 {
        println!("a build or a runner failed without a result of its own; it is counted as one failure");
        sum.failed = 1;
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(well && sum.failed == 0)
}

/// Where the tests find what is built for them once: names in the environment, and files or folders.
type Built = Vec<(&'static str, PathBuf)>;

/// Everything: the guests' tests, the host's side by side, and the examples in the documentation.
fn whole(root: &Path, mut built: Built, sum: &mut Sum) -> anyhow::Result<bool> {
    // Once, and not by several tests at the same time.
    for server in [Server::Postgres, Server::Redis] {
        server.installed()?;
    }
    let mut guests = process::cargo(&root.join("plugins"));
    guests
        .args(["test", "--locked", "--no-fail-fast"])
        .env("CARGO_TARGET_DIR", root.join("plugins/target"));
    let mut well = process::stream(&mut guests, |line| sum.see(line))?;
    let Some(suites) = build(root, &mut built)? else {
        return Ok(false);
    };
    // What was built is on the disk before the tests begin: a commit that has to wait for gigabytes of others' outlasts their deadlines.
    rustix::fs::sync();
    well &= suites::run(suites, &built, &mut |line| sum.see(line))?;
    let mut examples = process::cargo(root);
    examples.args(["test", "--locked", "--workspace", "--doc", "--no-fail-fast"]);
    well &= process::stream(&mut examples, |line| sum.see(line))?;
    Ok(well)
}

/// All programs, before the first is run; none if one does not build. The host's is built last, as it is shipped: with the tests it gets their features.
fn build(root: &Path, built: &mut Built) -> anyhow::Result<Option<Vec<Suite>>> {
    let cargo = |words: &[&str]| {
        let mut cargo = process::cargo(root);
        cargo.args(words).args(["--locked", MESSAGES]);
        process::read(&mut cargo)
    };
    let host = ["build", "-p", "keywheel-cli", "--bin"];
    let (failing, tests, shipped) = (
        cargo(&[&host[..], &["keywheel-failpoints", "--features", "failpoints"]].concat())?,
        cargo(&["test", "--workspace", "--no-run"])?,
        cargo(&[&host[..], &["keywheel"]].concat())?,
    );
    if !(failing.0 && tests.0 && shipped.0) {
        return Ok(None);
    }
    for (name, program, messages) in [
        ("KEYWHEEL_BINARY", "keywheel", &shipped.1),
        ("KEYWHEEL_FAILPOINTS_BINARY", "keywheel-failpoints", &failing.1),
    ] {
        let file = messages.lines().find_map(|line| suites::program(line, program));
        built.push((
            name,
            file.with_context(|| format!("cargo told of no `{program}`"))?,
        ));
    }
    let suites: Vec<Suite> = tests.1.lines().filter_map(Suite::told).collect();
    anyhow::ensure!(!suites.is_empty(), "cargo told of no test program");
    Ok(Some(suites))
}

/// What the arguments name, by cargo's own runner.
fn some(root: &Path, built: &Built, arguments: &[String], sum: &mut Sum) -> anyhow::Result<bool> {
    let mut host = process::cargo(root);
    host.args(["test", "--locked", "--no-fail-fast"]);
    if !arguments
        .iter()
        .any(|argument| argument == "-p" || argument.starts_with("--package"))
    {
        host.arg("--workspace");
    }
    host.args(arguments)
        .envs(built.iter().map(|(name, file)| (name, file)));
    process::stream(&mut host, |line| sum.see(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_and_nothing_else() {
        let mut sum = Sum::default();
        sum.see(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s",
        );
        sum.see("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s");
        sum.see("test 9 passed; is no closing line");
        assert_eq!(
            sum,
            Sum {
                passed: 13,
                failed: 2
            }
        );
    }
}
