use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::account::is_root;
use crate::install::{Installed, Server};
use crate::process::{Running, Watcher};
use crate::{Postgres, free_port};

/// Root is not let in: it becomes this user, whose server it is for.
const USER: &str = "postgres";

/// A running PgBouncer on 127.0.0.1 in front of a PostgreSQL server, with TLS on both sides. It asks the server for the passwords of all users
/// (`auth_query`), and lends a connection for a session.
pub struct PgBouncer {
    _running: Running,
    port: u16,
    _folder: TempDir,
    _watcher: Watcher,
}

impl PgBouncer {
    /// Starts one.
    ///
    /// # Errors
    /// When it is not to be had or does not come up; with its log.
    pub fn start(server: &Postgres) -> Result<Self> {
        let installed = Server::PgBouncer.installed()?;
        let folder = tempfile::Builder::new().prefix("kw-pgb-").tempdir_in("/tmp")?;
        let watcher = Watcher::of_folder(folder.path())?;
        for _ in 0..5 {
            let port = free_port()?;
            write_files(server, folder.path(), port)?;
            match launch(&installed, folder.path(), port) {
                Err(_) if log(folder.path()).contains("ddress already in use") => {}
                launched => {
                    return Ok(Self {
                        _running: launched?,
                        port,
                        _folder: folder,
                        _watcher: watcher,
                    });
                }
            }
        }
        bail!("no free port for PgBouncer")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn write_files(server: &Postgres, folder: &Path, port: u16) -> Result<()> {
    let at = |name: &str| folder.join(name).display().to_string();
    let served = server.authority().issue_local()?;
    let users = format!("\"{}\" \"{}\"\n", server.admin_user(), server.admin_password());
    let configuration = format!(
        "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {users}\nauth_user = {admin}\nauth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n\
         client_tls_sslmode = require\nclient_tls_cert_file = {certificate}\nclient_tls_key_file = {key}\n\
         server_tls_sslmode = verify-full\nserver_tls_ca_file = {authority}\npool_mode = session\n",
        server_port = server.port(),
        admin = server.admin_user(),
        users = at("users.txt"),
        certificate = at("served.pem"),
        key = at("served.key"),
        authority = server.ca_file().display(),
    );
    for (name, content) in [
        ("pgbouncer.ini", configuration),
        ("users.txt", users),
        ("served.pem", served.certificate_pem),
        ("served.key", served.key_pem),
    ] {
        server.owns(&folder.join(name), &content)?;
    }
    server.owns_folder(folder)
}

fn launch(installed: &Installed, folder: &Path, port: u16) -> Result<Running> {
    let mut command = Command::new(installed.program("pgbouncer"));
    installed
        .prepare(command.env_clear().env("LC_ALL", "C"))
        .current_dir("/");
    if is_root() {
        command.args(["-u", USER]);
    }
    command.arg(folder.join("pgbouncer.ini"));
    let mut running = Running::start(&mut command, &folder.join("log"), Signal::INT)?;
    running
        .wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok())
        .with_context(|| format!("PgBouncer does not start:\n{}", log(folder)))?;
    Ok(running)
}

fn log(folder: &Path) -> String {
    fs::read(folder.join("log"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
