//! End-to-end tests against the built binary and real servers: this is the harness, `tests/` has the cases.
//!
//! A [`Host`] is a folder made by `keywheel init` and everything the binary ever printed about it, so that a test can look for
//! planted secrets in all of it. Like the kit it blocks and panics: it is for tests alone.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::similar_names,
    clippy::sliced_string_as_bytes,
    reason = "a harness for tests: whatever goes wrong in it is a failure of the test"
)]

mod built;
mod processes;
mod scene;
mod traces;

pub use built::{binary, failing_binary};
pub use scene::{found, role_adopted, role_adopted_on, until};
pub use traces::{Trace, places};

pub use keywheel_kit::{
    Rotation, Search, mariadb_user, mssql_account, mysql_user, openldap_entry, postgres_pair, postgres_role,
    redis_user, rotation,
};

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::Processes;

/// How long any command may take before its test fails: far beyond every deadline that a test sets.
const COMMAND_DEADLINE: Duration = Duration::from_mins(2);

/// A shipped plugin, packed.
///
/// # Panics
/// When it was not built: `cargo xtask plugins` does.
pub fn plugin_file(name: &str) -> PathBuf {
    let folder = std::env::var_os("KEYWHEEL_PLUGINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"),
        PathBuf::from,
    );
    let file = folder.join(format!("{name}.wasm"));
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask plugins`",
        file.display()
    );
    file
}

/// How a command ended and what it printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The same, if the command ended with this code.
    ///
    /// # Panics
    /// When it did not, with all it printed.
    #[must_use]
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The same, if standard error has every one of these words.
    ///
    /// # Panics
    /// When one is missing.
    #[must_use]
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is missing in\n{}\n--- stdout\n{}",
                self.stderr,
                self.stdout
            );
        }
        self
    }

    /// Standard output as one JSON document.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A host in a folder of its own.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
    /// What each command printed, by stream.
    printed: Mutex<Vec<Trace>>,
    processes: Option<Processes>,
}

impl Host {
    /// Runs `keywheel init`.
    ///
    /// # Panics
    /// When that fails.
    pub fn init() -> Self {
        Self::begin(false)
    }

    /// The same, and every command says all it can, as if somebody looked for a fault; its arguments and its environment are looked at while it
    /// runs, and it has a folder of its own for temporary files.
    ///
    /// # Panics
    /// When that fails.
    pub fn init_watched() -> Self {
        Self::begin(true)
    }

    fn begin(watched: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for beside in ["outside", "temporary"] {
            fs::create_dir(folder.path().join(beside)).unwrap();
        }
        let processes = watched.then(|| Processes::watch(folder.path().join("temporary")));
        let host = Self {
            folder,
            printed: Mutex::default(),
            processes,
        };
        let mut command = host.keywheel();
        command.arg("init").arg(host.folder());
        command.arg("--recovery-to").arg(host.outside("recovery"));
        let _ = host.finish(&mut command, "").ends(0);
        host
    }

    /// The folder that everything is in: the host's, what is beside it, and temporary files of a watched host.
    pub fn whole(&self) -> &Path {
        self.folder.path()
    }

    /// A second one with the same files. No command may have this one open.
    ///
    /// # Panics
    /// When they cannot be copied.
    #[must_use]
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        let from = self.folder.path().join(".");
        let copied = copy.arg("-a").arg(from).arg(folder.path()).status().unwrap();
        assert!(copied.success());
        let host = Self {
            folder,
            printed: Mutex::default(),
            processes: None,
        };
        // Some settings name files beside the host.
        let place = |host: &Self| host.folder.path().display().to_string();
        let file = host.file("keywheel.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&place(self), &place(&host))).unwrap();
        host
    }

    /// The host's folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    /// A file that is beside the host, not of it.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.folder.path().join("outside").join(name)
    }

    /// A file of the host.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Adds lines to `keywheel.toml`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, lines: &str) {
        let mut file = File::options()
            .append(true)
            .open(self.file("keywheel.toml"))
            .unwrap();
        writeln!(file, "\n{lines}").unwrap();
    }

    /// Copies a shipped plugin into the plugin folder.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn drop_plugin(&self, name: &str) {
        let to = self.file(&format!("plugins/{name}.wasm"));
        fs::copy(plugin_file(name), to).unwrap();
    }

    /// Copies a shipped plugin and pins it, with a grant for some ports of this machine.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn add_plugin(&self, name: &str, ports: &[u16]) {
        self.drop_plugin(name);
        let mut arguments = vec![
            "plugin".to_owned(),
            "add".to_owned(),
            name.to_owned(),
            "--yes".to_owned(),
        ];
        for port in ports {
            for host in ["localhost", "127.0.0.1"] {
                arguments.extend(["--host".to_owned(), format!("{host}:{port} tls")]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let _ = self.run(&arguments, "").ends(0);
    }

    /// Imports a value by standard input.
    pub fn import(&self, secret: &str, value: &str) -> Output {
        self.run(&["secret", "import", secret, "-", "--wait", "end"], value)
    }

    /// Runs a command of this host to its end.
    ///
    /// # Panics
    /// When it does not end within two minutes.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        self.finish(&mut self.command(arguments), stdin)
    }

    /// The same with `-o json`, for a command that ends well; what it printed.
    ///
    /// # Panics
    /// When it does not end with 0, or prints no JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        self.run(&all, "").ends(0).json()
    }

    /// A secret's value, read into a file beside the host.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    pub fn read(&self, secret: &str, version: Option<&str>) -> String {
        let to = self.outside("value");
        let path = to.display().to_string();
        let mut arguments = vec!["secret", "read", secret, "--reason", "test", "--to", &path];
        arguments.extend(version.iter().flat_map(|version| ["--version", version]));
        let _ = self.run(&arguments, "").ends(0);
        let value = fs::read_to_string(&to).unwrap();
        fs::remove_file(&to).unwrap();
        value
    }

    /// The versions of a secret as (id, stage), newest first.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn versions(&self, secret: &str) -> Vec<(String, String)> {
        let word = |version: &Value, field: &str| version[field].as_str().unwrap().to_owned();
        let history = self.json(&["secret", "history", secret]);
        let versions = history.as_array().unwrap().iter();
        versions
            .map(|version| (word(version, "version"), word(version, "stage")))
            .collect()
    }

    /// A command of this host, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.keywheel();
        command.args(arguments).current_dir(self.folder());
        command
    }

    fn keywheel(&self) -> Command {
        let mut command = Command::new(binary());
        command.env("NO_COLOR", "1").env_remove("RUST_LOG");
        if self.processes.is_some() {
            command
                .arg("-vv")
                .env("RUST_LOG", "trace")
                .env("RUST_BACKTRACE", "full")
                .env("TMPDIR", self.folder.path().join("temporary"));
        }
        command
    }

    /// Runs any command to its end and keeps what it printed.
    ///
    /// # Panics
    /// When it does not end within two minutes.
    #[track_caller]
    pub fn finish(&self, command: &mut Command, stdin: &str) -> Output {
        let mut started = self.start(command);
        // A command that does not want its input closes it.
        let _ = started
            .child
            .stdin
            .take()
            .map(|mut pipe| pipe.write_all(stdin.as_bytes()));
        self.wait(started)
    }

    /// Starts a command that another thread or a signal may end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, command: &mut Command) -> Started {
        let (out, err) = (
            tempfile::NamedTempFile::new().unwrap(),
            tempfile::NamedTempFile::new().unwrap(),
        );
        let child = command
            .stdin(Stdio::piped())
            .stdout(out.reopen().unwrap())
            .stderr(err.reopen().unwrap())
            .spawn()
            .unwrap();
        let words = words_of(command).replace(&self.whole().display().to_string(), "…");
        if let Some(processes) = &self.processes {
            processes.add(child.id(), &words);
        }
        Started {
            words,
            child,
            out,
            err,
        }
    }

    /// Waits for it.
    ///
    /// # Panics
    /// When it does not end within two minutes.
    #[track_caller]
    pub fn wait(&self, mut started: Started) -> Output {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = started.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > COMMAND_DEADLINE {
                started.child.kill().unwrap();
                panic!("it does not end: {}", started.stderr());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (out, err) = (
            fs::read(started.out.path()).unwrap(),
            fs::read(started.err.path()).unwrap(),
        );
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, bytes) in [("output", &out), ("errors", &err)] {
            let place = format!("{stream} of `{}`", started.words);
            printed.push(Trace::new(place, bytes.clone()));
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Output {
            code: status.code().unwrap_or(-1),
            signal: status.signal(),
            stdout: text(out),
            stderr: text(err),
        }
    }
}

/// A command as it would be typed, by the name of its program alone.
fn words_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A command that runs.
#[derive(Debug)]
pub struct Started {
    words: String,
    /// Its process.
    pub child: Child,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
}

impl Started {
    /// What it wrote to standard error up to now.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.err.path()).unwrap_or_default()).into_owned()
    }

    /// Waits until standard error has this word; whether it came before the command ended or two minutes passed.
    pub fn wait_for(&mut self, word: &str) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < COMMAND_DEADLINE {
            let over = matches!(self.child.try_wait(), Ok(Some(_)) | Err(_));
            if self.stderr().contains(word) {
                return true;
            }
            if over {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }
}
