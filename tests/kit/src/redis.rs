use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::Authority;
use crate::install::{Installed, Server};
use crate::postgres::tail;
use crate::process::{Running, Watcher};
use crate::{Login, command, free_port, random_password};

const ADMIN: &str = "admin";

/// Where the server keeps its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AclStore {
    /// `aclfile`: `ACL SAVE` writes it.
    #[default]
    AclFile,
    /// Lines of `redis.conf`: `CONFIG REWRITE` writes it; `ACL SAVE` is an error.
    ConfigRewrite,
}

/// How a Redis server is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisOptions {
    /// Where its users are kept.
    pub acl: AclStore,
    /// Whether it listens without TLS too, on a port of its own.
    pub plaintext: bool,
    /// Serves a certificate for `wrong.invalid` instead of `localhost` and 127.0.0.1.
    pub wrong_name: bool,
}

/// A running Redis server on 127.0.0.1: TLS by an authority of its own, a user `admin` that may do everything, `default` switched off.
pub struct Redis {
    running: Option<Running>,
    installed: Installed,
    account: Account,
    options: RedisOptions,
    port: u16,
    plaintext_port: u16,
    admin_password: String,
    authority: Authority,
    folder: TempDir,
    _watcher: Watcher,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start(options: RedisOptions) -> Result<Self> {
        let installed = Server::Redis.installed()?;
        let account = Account::of_server("redis")?;
        let folder = tempfile::Builder::new().prefix("kw-redis-").tempdir_in("/tmp")?;
        account.give(folder.path())?;
        let watcher = Watcher::of_folder(folder.path())?;
        let authority = Authority::new()?;
        let admin_password = random_password();
        let mut server = Self {
            running: None,
            installed,
            account,
            options,
            port: 0,
            plaintext_port: 0,
            admin_password,
            authority,
            folder,
            _watcher: watcher,
        };
        for _ in 0..5 {
            server.port = free_port()?;
            server.plaintext_port = if options.plaintext { free_port()? } else { 0 };
            server.write_files()?;
            match server.launch() {
                Err(_) if server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        bail!("no free port for Redis")
    }

    /// The name to dial; in the certificate.
    pub fn host(&self) -> &'static str {
        "localhost"
    }

    /// The port with TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port without, if there is one.
    pub fn plaintext_port(&self) -> Option<u16> {
        (self.plaintext_port != 0).then_some(self.plaintext_port)
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

    /// The server's process; none while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid)
    }

    /// The server's log up to now.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// What is on disk of the users: the ACL file, or the whole configuration.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored_users(&self) -> Result<String> {
        let file = if self.options.acl == AclStore::AclFile {
            self.acl_folder().join("users.acl")
        } else {
            self.folder.path().join("redis.conf")
        };
        Ok(fs::read_to_string(file)?)
    }

    /// The folder of the ACL file alone; the server's own.
    pub fn acl_folder(&self) -> PathBuf {
        self.folder.path().join("acl")
    }

    /// Runs a command as the administrator by redis-cli; its raw answer. The arguments show in the list of processes: no passwords there.
    ///
    /// # Errors
    /// With the client's or the server's words.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = command::output(self.cli(ADMIN, &self.admin_password).arg("-e").args(arguments))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() || said.starts_with("AUTH failed") {
            bail!("redis-cli: {}", said.trim());
        }
        Ok(said.trim_end().to_owned())
    }

    /// Makes a user that may do everything, with one password. Not saved to disk.
    ///
    /// # Errors
    /// With the server's words.
    pub fn create_user(&self, user: &str, password: &str) -> Result<()> {
        let (name, set) = (quoted(user), quoted(&format!(">{password}")));
        let set = format!("ACL SETUSER {name} reset on {set} ~* &* +@all\n");
        let file = self
            .folder
            .path()
            .join(format!("commands-{:08x}", rand::random::<u32>()));
        self.account.write(&file, &set)?;
        let mut cli = self.cli(ADMIN, &self.admin_password);
        let said = cli.stdin(fs::File::open(&file)?).output()?;
        fs::remove_file(&file)?;
        let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        if said == "OK" {
            Ok(())
        } else {
            bail!("redis-cli: {}", said.replace(password, "***"))
        }
    }

    /// Tries a login over TLS with redis-cli.
    ///
    /// # Errors
    /// When redis-cli cannot be run.
    pub fn login(&self, user: &str, password: &str) -> Result<Login> {
        Self::tried(self.cli(user, password).arg("PING"))
    }

    /// Hands redis-cli a URL with server, user and password in it. It shows in the list of processes: a test's own alone.
    ///
    /// # Errors
    /// When redis-cli cannot be run.
    pub fn login_by(&self, url: &str) -> Result<Login> {
        let mut command = self.account.command(&self.installed.program("redis-cli"));
        command.env_clear().current_dir("/");
        self.installed.prepare(&mut command);
        command
            .args(["--no-auth-warning", "--cacert"])
            .arg(self.ca_file());
        Self::tried(command.args(["-u", url, "PING"]))
    }

    fn tried(cli: &mut Command) -> Result<Login> {
        let output = command::output(cli)?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .trim()
        .to_owned();
        Ok(if said.contains("WRONGPASS") {
            Login::Refused(said)
        } else if said == "PONG" || said.starts_with("NOPERM") {
            Login::Accepted
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

    /// Starts it again, on the same ports with what is on disk; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not come up; with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    fn cli(&self, user: &str, password: &str) -> Command {
        let mut command = self.account.command(&self.installed.program("redis-cli"));
        command
            .env_clear()
            .env("REDISCLI_AUTH", password)
            .current_dir("/");
        self.installed.prepare(&mut command);
        command
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "--tls",
                "--sni",
                self.host(),
                "--cacert",
            ])
            .arg(self.ca_file());
        command.args(["--no-auth-warning", "--user", user]);
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
        let users = format!(
            "user default off\nuser {ADMIN} on >{} ~* &* +@all\n",
            self.admin_password
        );
        let kept = match self.options.acl {
            AclStore::AclFile => {
                let file = self.acl_folder().join("users.acl");
                fs::create_dir_all(self.acl_folder())?;
                self.account.give(&self.acl_folder())?;
                self.account.write(&file, &users)?;
                format!("aclfile {}\n", file.display())
            }
            AclStore::ConfigRewrite => users,
        };
        let config = format!(
            "bind 127.0.0.1\nport {}\ntls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
             dir {}\nsave \"\"\nappendonly no\ndaemonize no\nlogfile \"\"\n{kept}",
            self.plaintext_port,
            self.port,
            at("server.pem").display(),
            at("server.key").display(),
            at("ca.pem").display(),
            self.folder.path().display(),
        );
        self.account.write(&at("redis.conf"), &config)
    }

    fn launch(&mut self) -> Result<()> {
        let mut command = self.account.command(&self.installed.program("redis-server"));
        self.installed
            .prepare(command.env_clear().env("LC_ALL", "C"))
            .current_dir(self.folder.path());
        command.arg(self.folder.path().join("redis.conf"));
        let begun = self.log().len();
        let log = self.log_file();
        let mut running = Running::start(&mut command, &log, Signal::TERM)?;
        let ready = running.wait_until(|| {
            fs::read(&log).is_ok_and(|text| {
                String::from_utf8_lossy(&text[begun.min(text.len())..])
                    .contains("Ready to accept connections")
            })
        });
        ready.with_context(|| format!("Redis does not start:\n{}", tail(&self.log())))?;
        self.running = Some(running);
        Ok(())
    }
}

/// An argument as redis-cli reads it from a file.
fn quoted(argument: &str) -> String {
    format!("\"{}\"", argument.replace('\\', "\\\\").replace('"', "\\\""))
}
