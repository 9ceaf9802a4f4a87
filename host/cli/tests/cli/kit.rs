//! What the tests of this folder share: the built binary in a folder of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;

/// A folder of its own in which the binary runs.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    /// Runs `keywheel` with these words, split at spaces.
    pub(crate) fn run(&self, words: &str) -> Ran {
        self.run_with(words, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with(&self, words: &str, input: &str) -> Ran {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>(), input)
    }

    /// The same with words that hold spaces.
    pub(crate) fn run_words(&self, words: &[&str], input: &str) -> Ran {
        let mut child = self.command(words).spawn().unwrap();
        // A command that reads nothing may be gone before this.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts it and goes on.
    pub(crate) fn start(&self, words: &str) -> Running {
        let mut child = self
            .command(&words.split_whitespace().collect::<Vec<_>>())
            .spawn()
            .unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        Running {
            child,
            err,
            said: String::new(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
        command.args(words).current_dir(self.path()).env_clear();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A command that goes on.
pub(crate) struct Running {
    child: Child,
    err: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on standard error that holds this.
    pub(crate) fn wait_for(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let read = self.err.read_line(&mut line).unwrap();
            self.said.push_str(&line);
            assert!(read > 0, "it ended without saying {words:?}:\n{}", self.said);
            if line.contains(words) {
                return;
            }
        }
    }

    /// What Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let id = i32::try_from(self.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }

    pub(crate) fn finish(mut self) -> Ran {
        self.err.read_to_string(&mut self.said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Ran {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: self.said,
        }
    }
}

/// Compares with a committed file; `KEYWHEEL_BLESS=1` writes it.
#[track_caller]
pub(crate) fn same_as_file(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("KEYWHEEL_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "\"{}\" differs; with KEYWHEEL_BLESS=1 it becomes:\n{text}",
        path.display()
    );
}

/// The database of a host that is not running, without what guards its rows; the guards are put on again at the end, so that nothing but what was done to
/// the rows can be seen.
pub(crate) struct Unguarded {
    connection: Connection,
    guards: Vec<String>,
}

impl Unguarded {
    pub(crate) fn open(place: &Place) -> Self {
        let connection = Connection::open(place.path().join("state/keywheel.db")).unwrap();
        let mut guards = Vec::new();
        {
            let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
            let mut statement = connection.prepare(sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                guards.push((row.get::<_, String>(0).unwrap(), row.get::<_, String>(1).unwrap()));
            }
        }
        for (name, _) in &guards {
            connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        assert!(!guards.is_empty());
        let guards = guards.into_iter().map(|(_, sql)| sql).collect();
        Self { connection, guards }
    }
}

impl std::ops::Deref for Unguarded {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Unguarded {
    fn drop(&mut self) {
        for guard in &self.guards {
            self.connection.execute_batch(guard).unwrap();
        }
    }
}
