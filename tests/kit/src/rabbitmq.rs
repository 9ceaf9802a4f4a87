use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::Account;
use crate::certificates::Authority;
use crate::install::{Installed, Server};
use crate::postgres::tail;
use crate::process::{Running, Watcher};
use crate::{Login, free_port, random_password};

const ADMIN: &str = "rotator";
/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Methods of AMQP 0-9-1, by class and number: what the server says to a login that it takes, and to one that it does not.
const TUNE: [u8; 4] = [0, 10, 0, 30];
const CLOSE: [u8; 4] = [0, 10, 0, 50];

/// A running RabbitMQ on 127.0.0.1: its management API with TLS by an authority of its own, the same without for the tests, AMQP without; an
/// administrator `rotator`.
pub struct RabbitMq {
    server: Running,
    _names: Running,
    ports: Ports,
    admin_password: String,
    authority: Authority,
    _folder: TempDir,
    _watcher: Watcher,
}

#[derive(Clone, Copy)]
struct Ports {
    /// The management API with TLS.
    tls: u16,
    /// The same without.
    plain: u16,
    amqp: u16,
    /// Where its name is asked for, and where other nodes would come in: both of no use here, and always there.
    names: u16,
    nodes: u16,
}

impl RabbitMq {
    /// Starts one; it takes some ten seconds.
    ///
    /// # Errors
    /// When the server is not to be had or does not come up; with its log.
    pub fn start() -> Result<Self> {
        let installed = Server::RabbitMq.installed()?;
        // What was unpacked is in a folder of our own.
        let account = Account::own();
        let folder = tempfile::Builder::new().prefix("kw-rabbit-").tempdir_in("/tmp")?;
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = free_port()?;
        }
        let [tls, plain, amqp, names, nodes] = ports;
        let ports = Ports {
            tls,
            plain,
            amqp,
            names,
            nodes,
        };
        let (authority, admin_password) = (Authority::new()?, random_password());
        write_files(folder.path(), account, &authority, &ports, &admin_password)?;
        let log = folder.path().join("log");
        let mut names = installed.command(account, "epmd");
        names.current_dir("/").args(["-address", "127.0.0.1", "-port"]);
        let names = Running::start(names.arg(ports.names.to_string()), &log, Signal::KILL)?;
        let server = launch(folder.path(), account, &installed, &ports)?;
        let mut rabbit = Self {
            server,
            _names: names,
            ports,
            admin_password,
            authority,
            _watcher: Watcher::of_folder(folder.path())?,
            _folder: folder,
        };
        let (port, password) = (ports.plain, rabbit.admin_password.clone());
        let is_ready = || ask(port, &password, "GET", "whoami", None).is_ok_and(|(status, _)| status == 200);
        rabbit.server.wait_until(is_ready).with_context(|| {
            let said = fs::read(&log).unwrap_or_default();
            format!(
                "RabbitMQ does not start:\n{}",
                tail(&String::from_utf8_lossy(&said))
            )
        })?;
        Ok(rabbit)
    }

    /// The port of the management API with TLS.
    pub fn port(&self) -> u16 {
        self.ports.tls
    }

    /// The user with the tag `administrator`.
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// Its password.
    pub fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// The certificate of the authority to trust, in a file.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// A request to the management API as the administrator: status and document.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        ask(self.ports.plain, &self.admin_password, method, path, body)
    }

    /// The same for a change.
    ///
    /// # Errors
    /// It was not made.
    pub fn put(&self, path: &str, body: &Value) -> Result<()> {
        let (status, said) = self.ask("PUT", path, Some(body))?;
        ensure!((200..300).contains(&status), "PUT {path}: {status} {said}");
        Ok(())
    }

    /// Makes a user with all rights in the virtual host `/`, or gives it this password and these tags. No password: it can have none.
    ///
    /// # Errors
    /// With the server's words.
    pub fn create(&self, user: &str, password: Option<&str>, tags: &str) -> Result<()> {
        let credential = match password {
            Some(password) => json!({ "password": password, "tags": tags }),
            None => json!({ "password_hash": "", "tags": tags }),
        };
        self.put(&format!("users/{user}"), &credential)?;
        self.put(
            &format!("permissions/%2F/{user}"),
            &json!({ "configure": ".*", "write": ".*", "read": ".*" }),
        )
    }

    /// What the server knows of a user.
    ///
    /// # Errors
    /// There is none.
    pub fn user(&self, name: &str) -> Result<Value> {
        let (status, user) = self.ask("GET", &format!("users/{name}"), None)?;
        ensure!(status == 200, "GET users/{name}: {status} {user}");
        Ok(user)
    }

    /// Tries a login as a client of AMQP makes it (0-9-1, PLAIN).
    ///
    /// # Errors
    /// When nobody listens, or it does not speak AMQP.
    pub fn login(&self, user: &str, password: &str) -> Result<Login> {
        let mut stream = connect(self.ports.amqp)?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        read_frame(&mut stream)?;
        stream.write_all(&start_ok(user, password))?;
        let said = read_frame(&mut stream)?;
        Ok(match said.first_chunk() {
            Some(&TUNE) => Login::Accepted,
            Some(&CLOSE) => Login::Refused(String::from_utf8_lossy(&said[4..]).into_owned()),
            _ => Login::Unreachable(format!("{said:?}")),
        })
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// In HTTP/1.0: the server closes the connection behind its answer.
fn ask(port: u16, password: &str, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut stream = connect(port)?;
    let body = body.map_or_else(String::new, Value::to_string);
    let credential = STANDARD.encode(format!("{ADMIN}:{password}"));
    let head = format!(
        "{method} /api/{path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic {credential}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}

/// The payload of the next frame.
fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = [0; 7];
    stream.read_exact(&mut head)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if size > 1 << 20 {
        bail!("no frame of AMQP: {head:?}");
    }
    let mut payload = vec![0; size as usize + 1];
    stream.read_exact(&mut payload)?;
    payload.pop();
    Ok(payload)
}

/// `connection.start-ok` of a client that wants to hear why it is refused.
fn start_ok(user: &str, password: &str) -> Vec<u8> {
    fn short(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        [&[length], text.as_bytes()].concat()
    }
    fn long(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], bytes].concat()
    }
    let told = [short("authentication_failure_close"), b"t\x01".to_vec()].concat();
    let properties = [short("capabilities"), b"F".to_vec(), long(&told)].concat();
    let method = [
        vec![0, 10, 0, 11],
        long(&properties),
        short("PLAIN"),
        long(format!("\0{user}\0{password}").as_bytes()),
        short("en_US"),
    ]
    .concat();
    [&[1, 0, 0][..], &long(&method), &[0xce]].concat()
}

fn write_files(
    folder: &Path,
    account: Account,
    authority: &Authority,
    ports: &Ports,
    password: &str,
) -> Result<()> {
    let at = |name: &str| folder.join(name);
    let served = authority.issue_local()?;
    let place = |name: &str| at(name).display().to_string();
    let config = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n\
         management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {}\nmanagement.ssl.cacertfile = {}\n\
         management.ssl.certfile = {}\nmanagement.ssl.keyfile = {}\nloopback_users = none\n\
         default_user = {ADMIN}\ndefault_pass = {password}\nmanagement_agent.disable_metrics_collector = true\n",
        ports.amqp,
        ports.plain,
        ports.tls,
        place("ca.pem"),
        place("server.pem"),
        place("server.key"),
    );
    for (name, text) in [
        ("rabbitmq.conf", config.as_str()),
        ("enabled_plugins", "[rabbitmq_management].\n"),
        ("ca.pem", authority.pem()),
        ("server.pem", &served.certificate_pem),
        ("server.key", &served.key_pem),
    ] {
        account.write(&at(name), text)?;
    }
    Ok(())
}

/// As `rabbitmq-server` starts it, in one process that can be ended by its id.
fn launch(folder: &Path, account: Account, installed: &Installed, ports: &Ports) -> Result<Running> {
    let libraries = installed.base().join("lib/rabbitmq/lib");
    let home = fs::read_dir(&libraries)?
        .flatten()
        .map(|entry| entry.path())
        .next();
    let home = home.with_context(|| format!("{} is empty", libraries.display()))?;
    let at = |name: &str| folder.join(name);
    let mut server = installed.command(account, "erl");
    server
        .current_dir(folder)
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("ERL_LIBS", home.join("plugins"))
        .env("ERL_EPMD_PORT", ports.names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_HOME", &home)
        .env("RABBITMQ_NODENAME", "kw@localhost")
        .env("RABBITMQ_DIST_PORT", ports.nodes.to_string())
        .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
        .env("RABBITMQ_MNESIA_BASE", at("data"))
        .env("RABBITMQ_LOG_BASE", at("logs"))
        .env("RABBITMQ_LOGS", "-");
    let words = "-noinput -s rabbit boot -boot start_sasl +S 2:2 +sbwt none +B i -kernel inet_dist_use_interface {127,0,0,1} \
                 -kernel prevent_overlapping_partitions false -syslog logger [] -syslog syslog_error_logger false";
    server.args(words.split_whitespace());
    Running::start(&mut server, &at("log"), Signal::KILL)
}
