//! The programs under test.

use std::fs;
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

    /// The places of that build which a command passes, in their order, when nothing kills it.
    ///
    /// # Panics
    /// When the command does not end with 0.
    #[track_caller]
    pub fn places_on(&self, arguments: &[&str]) -> Vec<String> {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.failing(arguments, "");
        command.env(TRACE_VARIABLE, trace.path());
        let _ = self.finish(&mut command, "").ends(0);
        lines(trace.path())
    }

    /// Runs a command until it dies at the place of this number among those that it passes.
    ///
    /// # Panics
    /// When it does not die, or of anything else, or elsewhere.
    #[track_caller]
    pub fn dies_at(&self, arguments: &[&str], places: &[String], number: usize) {
        let place = &places[number];
        let before = places[..number].iter().filter(|other| *other == place).count();
        let orders = match before {
            0 => format!("{place}=return"),
            _ => format!("{place}={before}*off->return"),
        };
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = self.failing(arguments, &orders);
        command.env(TRACE_VARIABLE, trace.path());
        let died = self.finish(&mut command, "");
        assert_eq!((died.code, died.signal), (-1, Some(9)), "{orders}: {died:?}");
        assert_eq!(lines(trace.path()), places[..=number], "{orders}");
    }
}

/// Where the build writes each place that it comes to.
const TRACE_VARIABLE: &str = "KEYWHEEL_FAILPOINT_TRACE";

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}
