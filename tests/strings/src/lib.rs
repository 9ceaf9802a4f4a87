//! Clients that are not ours, as readers of connection strings: whether what the host writes is what they read.

#![forbid(unsafe_code)]

mod hostile;
mod install;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use hostile::{passwords, users};

/// What runs the clients of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// psycopg (libpq), asyncpg, `SQLAlchemy` with `PyMySQL`, redis-py.
    Python,
    /// node-postgres, mysql2, node-redis, node-mssql (tedious).
    Node,
    /// pgx, lib/pq, go-sql-driver, go-redis, go-mssqldb.
    Go,
    /// pgjdbc, MariaDB Connector/J, mssql-jdbc.
    Java,
    /// pyodbc with unixODBC, and Debian's drivers: psqlodbc, MariaDB Connector/ODBC, FreeTDS.
    Odbc,
}

/// A login that is to be tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The client, as its program names it.
    pub client: &'static str,
    /// What it is given.
    pub string: String,
}

impl Language {
    /// What each attempt came to, in their order: none where the client got in, else what it said. `ca` is the authority of the server's certificate, for
    /// clients whose strings cannot name it.
    ///
    /// # Errors
    /// The clients are not to be had; their program failed, or answered otherwise than once for each.
    pub fn ask(self, ca: &Path, attempts: &[Attempt]) -> Result<Vec<Option<String>>> {
        let mut command = self.command()?;
        if self == Self::Odbc {
            // No key of a string names it to psqlodbc.
            command.env("PGSSLROOTCERT", ca);
        }
        command.arg(ca).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let lines: String = attempts
            .iter()
            .map(|attempt| format!("{} {}\n", attempt.client, STANDARD.encode(&attempt.string)))
            .collect();
        // Dropped at the end of the block: the program ends with its input.
        {
            let mut input = child.stdin.take().context("no input")?;
            input.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{self:?} ended with {}", output.status);
        let said = String::from_utf8(output.stdout).context("no UTF-8")?;
        let answers: Result<Vec<_>> = said.lines().map(answer).collect();
        let answers = answers?;
        ensure!(
            answers.len() == attempts.len(),
            "{self:?} gave {} answers to {} attempts",
            answers.len(),
            attempts.len()
        );
        Ok(answers)
    }

    fn command(self) -> Result<Command> {
        let scripts: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let folder = install::folder(self, &scripts)?;
        Ok(match self {
            Self::Python => {
                let mut python = Command::new(folder.join("bin/python3"));
                python.arg(scripts.join("python.py"));
                python
            }
            Self::Odbc => {
                let mut python = Command::new(folder.join("bin/python3"));
                let libraries = folder
                    .join("root/usr/lib")
                    .join(format!("{}-linux-gnu", std::env::consts::ARCH));
                // The strings name drivers by their files alone.
                let all = [libraries.join("odbc"), libraries];
                python
                    .env("LD_LIBRARY_PATH", std::env::join_paths(all)?)
                    .arg(scripts.join("python.py"));
                python
            }
            Self::Node => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", folder.join("node_modules"))
                    .arg(scripts.join("node.cjs"));
                node
            }
            Self::Go => Command::new(folder.join("clients")),
            Self::Java => {
                let mut java = Command::new("java");
                java.arg("-cp")
                    .arg(folder.join("jars/*"))
                    .arg(scripts.join("Jdbc.java"));
                java
            }
        })
    }
}

fn answer(line: &str) -> Result<Option<String>> {
    match (line, line.strip_prefix("no ")) {
        ("ok", _) => Ok(None),
        (_, Some(said)) => Ok(Some(said.to_owned())),
        _ => bail!("neither `ok` nor `no …`: {line}"),
    }
}
