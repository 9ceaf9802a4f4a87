//! The test programs that cargo built, run side by side: most end-to-end tests wait for servers and deadlines, and leave the processor to those that compute.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// A program that runs longer than this hangs.
const LIMIT: Duration = Duration::from_mins(30);
const LOOK: Duration = Duration::from_millis(100);
/// They are begun first and in this order, so that none of them is left alone at the end.
const LONGEST: [&str; 18] = [
    "serves",
    "kills",
    "crashes",
    "refusals",
    "planted",
    "hostile",
    "golden",
    "cli",
    "emergencies",
    "memory",
    "returns",
    "waits",
    "mysql",
    "strings",
    "removed",
    "repairs",
    "postgres",
    "drift",
];
/// They only compute: they have a lane of their own, and the processor when nobody else wants it, whose servers and deadlines do not wait.
const PATIENT: [&str; 2] = ["search", "mutants"];
/// How many of the longest are named at the end.
const NAMED: usize = 5;

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// As it is shown: `keywheel-e2e refusals`.
    name: String,
    target: String,
    /// Where it runs: its package's folder, as under cargo.
    folder: PathBuf,
    program: PathBuf,
}

/// A line of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Suite {
    /// The test program that a line of cargo's messages tells of, if it does.
    pub(super) fn told(line: &str) -> Option<Self> {
        let message: Message = serde_json::from_str(line).ok()?;
        if message.reason != "compiler-artifact" || !message.profile?.test {
            return None;
        }
        let folder = message.manifest_path?.parent()?.to_owned();
        let target = message.target?.name;
        let package = package(&message.package_id?, &folder);
        Some(Self {
            name: format!("{package} {target}"),
            target,
            folder,
            program: message.executable?,
        })
    }

    fn command(&self) -> Command {
        let mut command = if PATIENT.contains(&self.target.as_str()) {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(&self.program);
            nice
        } else {
            Command::new(&self.program)
        };
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// The program of this name that a line of cargo's messages tells of, if it does.
pub(super) fn program(line: &str, name: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_it =
        message.reason == "compiler-artifact" && message.target?.name == name && !message.profile?.test;
    message.executable.filter(|_| is_it)
}

/// `path+file:///…/tests/e2e#keywheel-e2e@0.1.0`, or without the name where the folder has the same.
fn package(id: &str, folder: &Path) -> String {
    let named = id
        .rsplit_once('#')
        .and_then(|(_, rest)| rest.split_once('@'))
        .map(|(name, _)| name.to_owned());
    named.unwrap_or_else(|| {
        folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    })
}

/// How a suite ended.
struct Ended {
    name: String,
    took: Duration,
    well: bool,
}

/// Runs all of them, as many at a time as there are processors, at least two, and beside them those that only compute. What one prints is shown when it
/// ends, in one piece; each of its lines is given to `see`. Says whether all succeeded.
///
/// # Errors
/// One could not be started, or what it printed not read.
pub(super) fn run(
    mut suites: Vec<Suite>,
    settings: &[(&str, PathBuf)],
    see: &mut (impl FnMut(&str) + Send),
) -> anyhow::Result<bool> {
    suites.sort_by_key(|suite| {
        let place = LONGEST.iter().position(|name| *name == suite.target);
        (
            std::cmp::Reverse(place.unwrap_or(LONGEST.len())),
            suite.name.clone(),
        )
    });
    let (patient, suites): (Vec<_>, Vec<_>) = suites
        .into_iter()
        .partition(|suite| PATIENT.contains(&suite.target.as_str()));
    let count = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
    let (patient, suites) = (Mutex::new(patient), Mutex::new(suites));
    let shown = Mutex::new((see, Vec::new()));
    let lane = |left: &Mutex<Vec<Suite>>| -> anyhow::Result<()> {
        loop {
            let next = left.lock().map_or(None, |mut left| left.pop());
            let Some(suite) = next else { return Ok(()) };
            println!("test: {} begins", suite.name);
            let begun = Instant::now();
            let (status, said) = run_one(&suite, settings)?;
            let took = begun.elapsed();
            let well = status.is_some_and(|status| status.success());
            let Ok(mut shown) = shown.lock() else {
                bail!("another lane has panicked")
            };
            let (see, ended) = &mut *shown;
            print_whole(&suite, &said, took, status)?;
            for line in said.lines() {
                see(line);
            }
            ended.push(Ended {
                name: suite.name,
                took,
                well,
            });
        }
    };
    std::thread::scope(|scope| {
        let mut lanes = vec![scope.spawn(|| lane(&patient))];
        lanes.extend((0..count).map(|_| scope.spawn(|| lane(&suites))));
        lanes.into_iter().try_for_each(|lane| match lane.join() {
            Ok(done) => done,
            Err(_panic) => bail!("a lane has panicked"),
        })
    })?;
    let (_, ended) = shown
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(summed_up(ended))
}

/// Names the longest and the failed ones.
fn summed_up(mut ended: Vec<Ended>) -> bool {
    ended.sort_by_key(|suite| std::cmp::Reverse(suite.took));
    let longest: Vec<String> = ended
        .iter()
        .take(NAMED)
        .map(|suite| format!("{} {} s", suite.name, suite.took.as_secs()))
        .collect();
    println!("test: the longest: {}", longest.join(", "));
    for failed in ended.iter().filter(|suite| !suite.well) {
        println!("test: {} FAILED", failed.name);
    }
    ended.iter().all(|suite| suite.well)
}

/// Runs one; its output goes to a file, so that no lane waits for a reader. No status: it was ended at the limit.
fn run_one(suite: &Suite, settings: &[(&str, PathBuf)]) -> anyhow::Result<(Option<ExitStatus>, String)> {
    let output = tempfile::NamedTempFile::new().context("cannot make a file for a test's output")?;
    let file =
        |output: &tempfile::NamedTempFile| -> anyhow::Result<File> { Ok(output.as_file().try_clone()?) };
    let mut command = suite.command();
    command
        .envs(settings.iter().map(|(name, file)| (name, file)))
        .stdin(Stdio::null())
        .stdout(file(&output)?)
        .stderr(file(&output)?);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", suite.program.display()))?;
    let status = wait(&mut child)?;
    let said = fs::read(output.path()).context("cannot read a test's output")?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

fn wait(child: &mut Child) -> anyhow::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a test")? {
            return Ok(Some(status));
        }
        if begun.elapsed() > LIMIT {
            child.kill().context("cannot end a test")?;
            child.wait().context("cannot wait for a test")?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn print_whole(suite: &Suite, said: &str, took: Duration, status: Option<ExitStatus>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n     Running {} ({} s)", suite.name, took.as_secs())?;
    out.write_all(said.as_bytes())?;
    match status {
        None => writeln!(out, "test: {} was ended after {} s", suite.name, LIMIT.as_secs())?,
        Some(status) if !status.success() => writeln!(out, "test: {} ended with {status}", suite.name)?,
        Some(_) => {}
    }
    out.flush().context("cannot print")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_told_of_and_nothing_else() {
        let line = |reason: &str, test: bool| {
            format!(
                r#"{{"reason":"{reason}","package_id":"path+file:///r/tests/e2e#keywheel-e2e@0.1.0","manifest_path":"/r/tests/e2e/Cargo.toml",
                "target":{{"name":"grants","kind":["test"]}},"profile":{{"test":{test},"opt_level":"0"}},"executable":"/r/target/grants-1"}}"#
            )
        };
        let suite = Suite::told(&line("compiler-artifact", true)).unwrap();
        assert_eq!(suite.name, "keywheel-e2e grants");
        assert_eq!(suite.folder, Path::new("/r/tests/e2e"));
        let built = program(&line("compiler-artifact", false), "grants");
        assert_eq!(built, Some(PathBuf::from("/r/target/grants-1")));
        assert_eq!(program(&line("compiler-artifact", false), "waits"), None);
        assert_eq!(program(&line("compiler-artifact", true), "grants"), None);
        for other in [
            line("compiler-artifact", false),
            line("build-finished", true),
            "warning: x".to_owned(),
        ] {
            assert_eq!(Suite::told(&other), None);
        }
        assert_eq!(
            package("path+file:///r/tests/kit#0.1.0", Path::new("/r/tests/kit")),
            "kit"
        );
    }

    #[test]
    fn a_failing_program_fails_the_whole_and_every_line_is_seen() {
        let suite = |name: &str, program: &str| Suite {
            name: name.to_owned(),
            target: name.to_owned(),
            folder: PathBuf::from("/"),
            program: PathBuf::from(program),
        };
        let mut seen = 0;
        let well = run(
            vec![suite("a", "/bin/pwd"), suite("b", "/bin/pwd")],
            &[],
            &mut |line: &str| seen += usize::from(line == "/"),
        );
        assert!(well.unwrap() && seen == 2, "{seen}");
        assert!(
            !run(
                vec![suite("a", "/bin/true"), suite("b", "/bin/false")],
                &[],
                &mut |_: &str| ()
            )
            .unwrap()
        );
        assert!(run(vec![suite("a", "/no/such/program")], &[], &mut |_: &str| ()).is_err());
    }
}
