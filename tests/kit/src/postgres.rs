mod replica;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::Authority;
use crate::install::{Installed, Server};
use crate::process::{Running, Watcher};
use crate::{Login, SERVER_DEADLINE, command, free_port, random_password};

const ADMIN: &str = "postgres";

/// How a PostgreSQL server is started.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, named where they are set"
)]
pub struct PostgresOptions {
    /// Whether commits reach the disk. Off is faster and right for most tests.
    pub fsync: bool,
    /// Whether logins without TLS are taken too.
    pub plaintext: bool,
    /// `log_statement = all`: the log shows every statement.
    pub log_statements: bool,
    /// Serves a certificate for `wrong.invalid` instead of `localhost` and 127.0.0.1.
    pub wrong_name: bool,
    /// Further settings, name and value.
    pub settings: Vec<(String, String)>,
    /// Makes a cluster with this password of the superuser, instead of a copy: copies are of one system, as replicas are.
    pub own_cluster: Option<String>,
}

/// A running PostgreSQL server on 127.0.0.1: SCRAM-SHA-256, TLS by an authority of its own, its data in a temporary folder.
pub struct Postgres {
    running: Option<Running>,
    installed: Installed,
    account: Account,
    options: PostgresOptions,
    port: u16,
    admin_password: String,
    authority: Arc<Authority>,
    folder: TempDir,
    _watcher: Watcher,
}

impl Postgres {
    /// Starts one, with a copy of a cluster that is made once a process.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let installed = Server::Postgres.installed()?;
        let account = Account::of_server("postgres")?;
        // Directly under /tmp: the path of a Unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("kw-pg-").tempdir_in("/tmp")?;
        account.give(folder.path())?;
        let watcher = Watcher::of_folder(folder.path())?;
        let data = folder.path().join("data");
        let admin_password = match &options.own_cluster {
            None => copy_template(&installed, account, &data)?,
            Some(password) => {
                initialise(&installed, account, folder.path(), password)?;
                password.clone()
            }
        };
        let authority = Arc::new(Authority::new()?);
        let mut server = Self {
            running: None,
            installed,
            account,
            options,
            port: 0,
            admin_password,
            authority,
            folder,
            _watcher: watcher,
        };
        server.write_files()?;
        server.launch_anywhere()?;
        Ok(server)
    }

    /// The name to dial; in the certificate.
    pub fn host(&self) -> &'static str {
        "localhost"
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The superuser.
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// The superuser's password.
    pub fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// The certificate of the authority to trust, PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The same in a file.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// The authority, for client certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Writes a file that the server's own account alone can read.
    pub(crate) fn owns(&self, path: &Path, content: &str) -> Result<()> {
        self.account.write(path, content)
    }

    /// Gives its account a folder.
    pub(crate) fn owns_folder(&self, path: &Path) -> Result<()> {
        self.account.give(path)
    }

    /// The postmaster's process; none while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// The server's log up to now.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Runs SQL as the superuser by psql; what it prints, unaligned and without headers. Several statements are one transaction.
    ///
    /// # Errors
    /// With psql's words.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let file = self
            .folder
            .path()
            .join(format!("sql-{:08x}", rand::random::<u32>()));
        self.account.write(&file, sql)?;
        let done = command::run(
            self.psql(ADMIN, &self.admin_password, "postgres")
                .args(["-1", "-q", "-f"])
                .arg(&file),
        );
        fs::remove_file(&file)?;
        Ok(done?.trim_end().to_owned())
    }

    /// Tries a login over TCP and TLS with psql, which checks the server's certificate.
    ///
    /// # Errors
    /// When psql cannot be run.
    pub fn login(&self, user: &str, password: &str) -> Result<Login> {
        Self::tried(self.psql(user, password, "postgres").args(["-c", "SELECT 1"]))
    }

    /// Hands psql a connection string, which has to name server, user and password. It shows in the list of processes: a test's own alone.
    ///
    /// # Errors
    /// When psql cannot be run.
    pub fn login_by(&self, string: &str) -> Result<Login> {
        let mut psql = self.psql("nobody", "none", "nowhere");
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"] {
            psql.env_remove(name);
        }
        Self::tried(psql.args(["-c", "SELECT 1", "-d", string]))
    }

    fn tried(psql: &mut Command) -> Result<Login> {
        let output = command::output(psql)?;
        if output.status.success() {
            return Ok(Login::Accepted);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let refused = [
            "password authentication failed",
            "is not permitted to log in",
            "no password supplied",
        ]
        .iter()
        .any(|words| said.contains(words));
        Ok(if refused {
            Login::Refused(said)
        } else {
            Login::Unreachable(said)
        })
    }

    /// Opens a session of a user and waits until the server counts it. It ends when the pipe to it is dropped.
    ///
    /// # Errors
    /// When psql cannot be run or is not let in.
    pub fn hold(&self, user: &str, password: &str) -> Result<ChildStdin> {
        let mut psql = self.psql(user, password, "postgres");
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let pipe = child.stdin.take().context("psql has no input")?;
        let begun = std::time::Instant::now();
        while self.sessions(user)? == 0 {
            if child.try_wait()?.is_some() || begun.elapsed() > SERVER_DEADLINE {
                bail!("no session of {user}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::thread::spawn(move || child.wait());
        Ok(pipe)
    }

    /// How many sessions a user has.
    ///
    /// # Errors
    /// With psql's words.
    pub fn sessions(&self, user: &str) -> Result<u32> {
        let count = self.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}'"
        ))?;
        Ok(count.parse()?)
    }

    /// Stops it as an administrator would: fast, with a checkpoint.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |running| running.stop().map(|_| ()))
    }

    /// Kills it and what it started, as a power cut would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill9(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |running| running.kill9().map(|_| ()))
    }

    /// Starts it again, on the same port with the same data; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not come up; with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        // After kill -9 the orphans of the old server hold its memory until they notice.
        let begun = std::time::Instant::now();
        loop {
            match self.launch() {
                Err(_)
                    if begun.elapsed() < SERVER_DEADLINE / 2
                        && self.log().contains("pre-existing shared memory block") =>
                {
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
                done => return done,
            }
        }
    }

    fn psql(&self, user: &str, password: &str, database: &str) -> Command {
        let mut command = self.client("psql", user, password);
        command.env("PGDATABASE", database);
        command.args(["-X", "-w", "-t", "-A", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// A program that logs in.
    fn client(&self, program: &str, user: &str, password: &str) -> Command {
        let mut command = self.account.command(&self.installed.program(program));
        // By environment: nothing of it shows in a list of processes, and no name has to be quoted.
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PGCONNECT_TIMEOUT", "10")
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.ca_file());
        command
            .env("PGHOST", self.host())
            .env("PGHOSTADDR", "127.0.0.1")
            .env("PGPORT", self.port.to_string());
        command
            .env("PGUSER", user)
            .env("PGPASSWORD", password)
            .current_dir("/");
        if self.options.wrong_name {
            command.env("PGSSLMODE", "verify-ca");
        }
        self.installed.prepare(&mut command);
        command
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn write_files(&self) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name);
        let served = if self.options.wrong_name {
            self.authority.issue(&["wrong.invalid"])?
        } else {
            self.authority.issue_local()?
        };
        self.account.write(&at("server.pem"), &served.certificate_pem)?;
        self.account.write(&at("server.key"), &served.key_pem)?;
        self.account.write(&at("ca.pem"), self.ca_pem())?;
        let plaintext = if self.options.plaintext {
            "host all all 127.0.0.1/32 scram-sha-256\n"
        } else {
            ""
        };
        let hba = format!(
            "local all all scram-sha-256\nhostssl all,replication all 127.0.0.1/32 scram-sha-256\n{plaintext}"
        );
        self.account.write(&at("data/pg_hba.conf"), &hba)
    }

    /// Another process may take the port between our look and the start: then another port.
    fn launch_anywhere(&mut self) -> Result<()> {
        for _ in 0..5 {
            self.port = free_port()?;
            match self.launch() {
                Err(_) if self.log().contains("could not bind") => {}
                done => return done,
            }
        }
        bail!("no free port for PostgreSQL")
    }

    fn launch(&mut self) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let fsync = if self.options.fsync { "on" } else { "off" };
        let mut settings: Vec<(String, String)> = [
            ("listen_addresses", "127.0.0.1"),
            (
                "unix_socket_directories",
                &self.folder.path().display().to_string(),
            ),
            ("ssl", "on"),
            ("ssl_cert_file", &at("server.pem")),
            ("ssl_key_file", &at("server.key")),
            ("password_encryption", "scram-sha-256"),
            ("fsync", fsync),
            ("synchronous_commit", fsync),
            ("full_page_writes", fsync),
            ("max_connections", "100"),
            ("shared_buffers", "32MB"),
            (
                "log_statement",
                if self.options.log_statements {
                    "all"
                } else {
                    "none"
                },
            ),
            ("logging_collector", "off"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        settings.extend(self.options.settings.iter().cloned());
        let mut command = self.account.command(&self.installed.program("postgres"));
        self.installed
            .prepare(command.env_clear().env("LC_ALL", "C"))
            .current_dir("/");
        command
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string()]);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let pid_file = self.folder.path().join("data/postmaster.pid");
        let mut running = Running::start(&mut command, &self.log_file(), Signal::INT)?;
        let pid = running.pid().to_string();
        let ready =
            running.wait_until(|| fs::read_to_string(&pid_file).is_ok_and(|text| is_ready(&text, &pid)));
        ready.with_context(|| format!("PostgreSQL does not start:\n{}", tail(&self.log())))?;
        self.running = Some(running);
        Ok(())
    }
}

/// `postmaster.pid`: the process in the first line, the state in the eighth.
fn is_ready(text: &str, pid: &str) -> bool {
    let mut lines = text.lines();
    lines.next().map(str::trim) == Some(pid) && lines.nth(6).map(str::trim) == Some("ready")
}

pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

struct Template {
    folder: TempDir,
    password: String,
    _watcher: Watcher,
}

/// Copies a fresh cluster; the superuser's password.
fn copy_template(installed: &Installed, account: Account, to: &Path) -> Result<String> {
    static TEMPLATE: Mutex<Option<Template>> = Mutex::new(None);
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if template.is_none() {
        *template = Some(make_template(installed, account)?);
    }
    let Some(made) = template.as_ref() else {
        bail!("no template")
    };
    let mut copy = Command::new("cp");
    command::run(
        copy.args(["-a", "--reflink=auto"])
            .arg(made.folder.path().join("data"))
            .arg(to),
    )?;
    Ok(made.password.clone())
}

fn make_template(installed: &Installed, account: Account) -> Result<Template> {
    let folder = tempfile::Builder::new().prefix("kw-pgt-").tempdir_in("/tmp")?;
    account.give(folder.path())?;
    let watcher = Watcher::of_folder(folder.path())?;
    let password = random_password();
    initialise(installed, account, folder.path(), &password)?;
    Ok(Template {
        folder,
        password,
        _watcher: watcher,
    })
}

/// Makes a cluster in `folder`/data.
fn initialise(installed: &Installed, account: Account, folder: &Path, password: &str) -> Result<()> {
    let file = folder.join("password");
    account.write(&file, password)?;
    let mut initdb = account.command(&installed.program("initdb"));
    installed
        .prepare(initdb.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin"))
        .current_dir("/");
    initdb
        .arg("-D")
        .arg(folder.join("data"))
        .arg("--pwfile")
        .arg(&file);
    initdb.args([
        "-A",
        "scram-sha-256",
        "-U",
        ADMIN,
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]);
    command::run(&mut initdb)?;
    fs::remove_file(&file)?;
    Ok(())
}
