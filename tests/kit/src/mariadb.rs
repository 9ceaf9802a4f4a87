use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::Authority;
use crate::install::{Installed, Server};
use crate::postgres::tail;
use crate::process::{Running, Watcher};
use crate::{Login, command, free_port, mysql, random_password};

const ADMIN: &str = "admin";

/// How a MariaDB server is started.
#[derive(Clone, Debug, Default)]
pub struct MariaDbOptions {
    /// Whether logins without TLS are taken too.
    pub plaintext: bool,
    /// Serves a certificate for `wrong.invalid` instead of `localhost` and 127.0.0.1.
    pub wrong_name: bool,
    /// Keeps the general log: every statement and login.
    pub log_statements: bool,
    /// Further arguments, such as `--skip-grant-tables`.
    pub arguments: Vec<String>,
}

/// Which of the two that speak this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    MariaDb,
    MySql,
}

/// A running MariaDB server on 127.0.0.1: TLS by an authority of its own, a user `admin` that may do everything, no other, and its data in
/// a temporary folder.
pub struct MariaDb {
    running: Option<Running>,
    family: Family,
    installed: Installed,
    /// Whose client is used: MariaDB's takes both.
    client: Installed,
    account: Account,
    options: MariaDbOptions,
    port: u16,
    admin_password: String,
    authority: Authority,
    folder: TempDir,
    _watcher: Watcher,
}

impl MariaDb {
    /// Starts one, with a copy of the tables that are made once a process.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start(options: MariaDbOptions) -> Result<Self> {
        Self::start_as(Family::MariaDb, options)
    }

    pub(crate) fn start_as(family: Family, options: MariaDbOptions) -> Result<Self> {
        let client = Server::MariaDb.installed()?;
        let (installed, account) = match family {
            Family::MariaDb => (client.clone(), Account::of_server("mysql")?),
            // Another account might not get at what was unpacked.
            Family::MySql => (Server::MySql.installed()?, Account::own()),
        };
        // Directly under /tmp: the path of a Unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("kw-maria-").tempdir_in("/tmp")?;
        account.give(folder.path())?;
        let watcher = Watcher::of_folder(folder.path())?;
        let admin_password = copy_template(family, &installed, account, &folder.path().join("data"))?;
        let authority = Authority::new()?;
        let mut server = Self {
            running: None,
            family,
            installed,
            client,
            account,
            options,
            port: 0,
            admin_password,
            authority,
            folder,
            _watcher: watcher,
        };
        server.write_files()?;
        for _ in 0..5 {
            server.port = free_port()?;
            match server.launch() {
                Err(_) if server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        bail!("no free port for {family:?}")
    }

    /// The name to dial; in the certificate.
    pub fn host(&self) -> &'static str {
        "localhost"
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user that may do everything.
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// Its password.
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

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The server's process; none while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// The server's own log up to now.
    pub fn log(&self) -> String {
        self.read("log")
    }

    /// The general log up to now: what was sent to the server.
    pub fn statements(&self) -> String {
        self.read("statements")
    }

    fn read(&self, file: &str) -> String {
        fs::read(self.folder.path().join(file))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Runs SQL as the administrator by the server's own client; what it prints, tabs between columns and without headers.
    ///
    /// # Errors
    /// With the client's words.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let file = self
            .folder
            .path()
            .join(format!("sql-{:08x}", rand::random::<u32>()));
        self.account.write(&file, sql)?;
        let mut client = self.client(ADMIN, &self.admin_password);
        let done = client.stdin(fs::File::open(&file)?).output()?;
        fs::remove_file(&file)?;
        if !done.status.success() {
            bail!("mariadb: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    }

    /// Tries a login over TCP and TLS with the server's own client, which checks the server's certificate.
    ///
    /// # Errors
    /// When the client cannot be run.
    pub fn login(&self, user: &str, password: &str) -> Result<Login> {
        let output = command::output(self.client(user, password).args(["-e", "SELECT 1"]))?;
        if output.status.success() {
            return Ok(Login::Accepted);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let refused = [1045, 1698, 1862, 3118, 3955, 4151].map(|number| format!("ERROR {number} "));
        Ok(if refused.iter().any(|words| said.contains(words)) {
            Login::Refused(said)
        } else {
            Login::Unreachable(said)
        })
    }

    /// Stops it as an administrator would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .take()
            .map_or(Ok(()), |running| running.stop().map(|_| ()))
    }

    /// Kills it as a power cut would.
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
        self.launch()
    }

    fn client(&self, user: &str, password: &str) -> Command {
        let mut command = self.client.command(self.account, "mariadb");
        // By environment: it shows in no list of processes.
        command.env("MYSQL_PWD", password).current_dir("/");
        command
            .args(["--no-defaults", "--protocol=TCP", "-h", self.host(), "-u", user])
            .args(["-P", &self.port.to_string(), "--connect-timeout=10", "-B", "-N"]);
        if !self.options.wrong_name {
            command
                .arg("--ssl-verify-server-cert")
                .arg(format!("--ssl-ca={}", self.ca_file().display()));
        }
        command
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
        self.account.write(&at("ca.pem"), self.ca_pem())
    }

    fn launch(&mut self) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = self.family.server(&self.installed, self.account);
        // A server that starts deletes the temporary tables of each other one that shares the folder.
        command
            .env("TMPDIR", self.folder.path())
            .current_dir(self.folder.path());
        command
            .arg(format!("--datadir={}", at("data")))
            .arg(format!("--socket={}", at("socket")))
            .arg(format!("--pid-file={}", at("pid")))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--ssl-cert={}", at("server.pem")))
            .arg(format!("--ssl-key={}", at("server.key")))
            .arg(format!("--ssl-ca={}", at("ca.pem")))
            .args([
                "--innodb-buffer-pool-size=16M",
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=200",
            ]);
        if !self.options.plaintext {
            command.arg("--require-secure-transport=ON");
        }
        if self.options.log_statements {
            command
                .arg("--general-log=1")
                .arg(format!("--general-log-file={}", at("statements")));
        }
        command.args(&self.options.arguments);
        let begun = self.log().len();
        let log = self.folder.path().join("log");
        let mut running = Running::start(&mut command, &log, Signal::TERM)?;
        let ready = running.wait_until(|| {
            fs::read(&log).is_ok_and(|text| {
                String::from_utf8_lossy(&text[begun.min(text.len())..]).contains("ready for connections")
            })
        });
        ready.with_context(|| format!("{:?} does not start:\n{}", self.family, tail(&self.log())))?;
        self.running = Some(running);
        Ok(())
    }
}

impl Family {
    /// The server's command as far as it is always the same.
    pub(crate) fn server(self, installed: &Installed, account: Account) -> Command {
        match self {
            Self::MariaDb => {
                let mut command = installed.command(account, "mariadbd");
                command
                    .arg("--no-defaults")
                    .arg(format!("--basedir={}", installed.base().display()));
                command
            }
            Self::MySql => mysql::server(installed, account),
        }
    }
}

struct Template {
    folder: TempDir,
    password: String,
    _watcher: Watcher,
}

/// Copies fresh tables; the administrator's password.
fn copy_template(family: Family, installed: &Installed, account: Account, to: &Path) -> Result<String> {
    static TEMPLATES: Mutex<BTreeMap<Family, Template>> = Mutex::new(BTreeMap::new());
    let mut templates = TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner);
    let made = match templates.entry(family) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(place) => place.insert(make_template(family, installed, account)?),
    };
    let mut copy = Command::new("cp");
    command::run(
        copy.args(["-a", "--reflink=auto"])
            .arg(made.folder.path().join("data"))
            .arg(to),
    )?;
    Ok(made.password.clone())
}

fn make_template(family: Family, installed: &Installed, account: Account) -> Result<Template> {
    let folder = tempfile::Builder::new().prefix("kw-mariat-").tempdir_in("/tmp")?;
    account.give(folder.path())?;
    let watcher = Watcher::of_folder(folder.path())?;
    let (password, extra) = (random_password(), folder.path().join("users.sql"));
    let users = format!(
        "CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{password}';\nGRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
    );
    match family {
        Family::MariaDb => {
            let users =
                format!("FLUSH PRIVILEGES;\n{users}DELETE FROM mysql.global_priv WHERE user = 'root';\n");
            account.write(&extra, &users)?;
            command::run(&mut install_db(installed, account, folder.path(), &extra))?;
        }
        Family::MySql => {
            account.write(&extra, &format!("{users}DROP USER root@localhost;\n"))?;
            mysql::make_tables(installed, account, folder.path(), &extra)?;
        }
    }
    fs::remove_file(&extra)?;
    Ok(Template {
        folder,
        password,
        _watcher: watcher,
    })
}

fn install_db(installed: &Installed, account: Account, folder: &Path, extra: &Path) -> Command {
    let mut make = installed.command(account, "mariadb-install-db");
    make.env("PATH", "/usr/bin:/bin:/usr/sbin")
        .env("TMPDIR", folder)
        .current_dir("/");
    make.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ])
    .arg(format!("--basedir={}", installed.base().display()))
    .arg(format!("--datadir={}", folder.join("data").display()))
    .arg(format!("--extra-file={}", extra.display()));
    make
}
