//! Receivers of notices: an HTTPS server that is as strict as the vendors' documents, and a mail server, both of other people's making.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keywheel_e2e::{Host, until};
use keywheel_kit::{Authority, free_port, made_once, random_password};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The mail server, as its project publishes it.
const MAIL_SERVER: &str = "aiosmtpd==1.4.6";

/// What the vendors' own types and libraries are, for [`crate::oracles`].
const LIBRARIES: [&str; 3] = ["adaptivecards@3.0.6", "@slack/types@3.2.0", "typescript@5.9.3"];

/// An HTTPS server on 127.0.0.1 in the vendors' place.
pub(crate) struct Receiver {
    authority: Authority,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    /// Of its places, and the keys: what must be seen nowhere.
    pub(crate) secrets: Vec<String>,
    paths: Value,
    routing_key: String,
    signing_key: String,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let mut receiver = Self::away();
        receiver.comes();
        receiver
    }

    /// One that does not listen yet.
    pub(crate) fn away() -> Self {
        let authority = Authority::new().unwrap();
        let identity = authority.issue_local().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tokens: Vec<String> = (0..3).map(|_| token(24)).collect();
        let routing_key = token(32);
        // As some receivers show it, with the bytes in base64.
        let signing_key = format!("whsec_{}", "QUJD".repeat(4) + &token(16).to_lowercase());
        let paths = json!({
            "slack": format!("/services/T0/B0/{}", tokens[0]),
            "teams": format!("/workflows/x/triggers/manual/paths/invoke?api-version=1&sig={}", tokens[1]),
            "alert": "/v2/enqueue",
            "change": "/v2/change/enqueue",
            "webhook": format!("/hook/{}", tokens[2]),
        });
        let places = json!({"paths": paths, "routing_key": routing_key, "signing_keys": [signing_key]});
        for (name, text) in [
            ("places.json", places.to_string()),
            ("cert.pem", identity.certificate_pem),
            ("key.pem", identity.key_pem),
            ("mode.json", "{}".to_owned()),
            ("requests", String::new()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let secrets = tokens
            .into_iter()
            .chain([routing_key.clone(), signing_key.clone()]);
        Self {
            secrets: secrets.collect(),
            authority,
            folder,
            port: free_port().unwrap(),
            child: None,
            paths,
            routing_key,
            signing_key,
        }
    }

    /// It listens from now on.
    pub(crate) fn comes(&mut self) {
        let script = self.folder.path().join("receiver.py");
        fs::write(&script, include_str!("receiver.py")).unwrap();
        let child = Command::new("python3")
            .arg(script)
            .arg(self.port.to_string())
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("it listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }

    /// What goes wrong from now on at each place: `{"slack": "429"}`.
    pub(crate) fn goes_wrong(&self, modes: &Value) {
        let (new, file) = (
            self.folder.path().join("mode.new"),
            self.folder.path().join("mode.json"),
        );
        fs::write(&new, modes.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// What came to a place up to now.
    pub(crate) fn requests(&self, place: &str) -> Vec<Value> {
        let lines = fs::read_to_string(self.folder.path().join("requests")).unwrap();
        // The last line may still be written.
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let requests = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
        requests.filter(|request| request["place"] == place).collect()
    }

    /// And was taken.
    pub(crate) fn taken(&self, place: &str) -> Vec<Value> {
        let mut requests = self.requests(place);
        requests.retain(|request| request["answer"].as_u64().is_some_and(|status| status < 300));
        requests
    }

    /// The trust set `own`, for a configuration.
    pub(crate) fn trust(&self) -> String {
        format!("[trust.own]\npem = [\"{}\"]\n\n", self.authority.file().display())
    }

    /// A sink of this kind, with further lines.
    pub(crate) fn sink(&self, kind: &str, lines: &str) -> String {
        let own = match kind {
            "pagerduty" => format!(
                "key = {{ secret = \"notify/pagerduty\" }}\nendpoint = \"https://localhost:{}\"",
                self.port
            ),
            "webhook" => {
                "url = { secret = \"notify/webhook\" }\nkey = { secret = \"notify/signing\" }".to_owned()
            }
            _ => format!("url = {{ secret = \"notify/{kind}\" }}"),
        };
        format!("[[notify]]\nname = \"{kind}\"\nkind = \"{kind}\"\ntrust = \"own\"\n{own}\n{lines}\n\n")
    }

    /// Where a place is, as a vendor gives it away.
    pub(crate) fn url(&self, place: &str) -> String {
        format!(
            "https://localhost:{}{}",
            self.port,
            self.paths[place].as_str().unwrap()
        )
    }

    /// Gives a host the secrets of all sinks.
    pub(crate) fn is_known_to(&self, host: &Host) {
        for place in ["slack", "teams", "webhook"] {
            let _ = host.import(&format!("notify/{place}"), &self.url(place)).ends(0);
        }
        let _ = host.import("notify/pagerduty", &self.routing_key).ends(0);
        let _ = host.import("notify/signing", &self.signing_key).ends(0);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Letters and digits that were never there before.
fn token(length: usize) -> String {
    let mut token = String::new();
    while token.len() < length {
        token.extend(random_password().chars().filter(char::is_ascii_alphanumeric));
    }
    token.truncate(length);
    token
}

/// A mail server on 127.0.0.1.
pub(crate) struct Mailbox {
    authority: Authority,
    folder: TempDir,
    pub(crate) port: u16,
    pub(crate) password: String,
    child: Child,
}

impl Mailbox {
    /// None: it is not to be had.
    pub(crate) fn start(mode: &str) -> Option<Self> {
        let python = mail_python()?;
        let authority = Authority::new().unwrap();
        let identity = authority.issue_local().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let password = random_password();
        for (name, text) in [
            ("mailbox.py", include_str!("mailbox.py")),
            ("cert.pem", &identity.certificate_pem),
            ("key.pem", &identity.key_pem),
            ("password", &password),
            ("mails", ""),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let port = free_port().unwrap();
        let child = Command::new(python)
            .arg(folder.path().join("mailbox.py"))
            .arg(port.to_string())
            .arg(folder.path())
            .arg(mode)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        until("it listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Some(Self {
            authority,
            folder,
            port,
            password,
            child,
        })
    }

    /// The trust set `mail`.
    pub(crate) fn trust(&self) -> String {
        format!(
            "[trust.mail]\npem = [\"{}\"]\n\n",
            self.authority.file().display()
        )
    }

    pub(crate) fn mails(&self) -> Vec<Value> {
        let lines = fs::read_to_string(self.folder.path().join("mails")).unwrap();
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mail_python() -> Option<PathBuf> {
    let made = made_once("python-aiosmtpd-1.4.6", |whole| {
        run(Command::new("python3").args(["-m", "venv"]).arg(whole))?;
        let python = whole.join("bin/python3");
        run(Command::new(python).args(["-m", "pip", "install", "--quiet", MAIL_SERVER]))
    });
    had("aiosmtpd", made).map(|whole| whole.join("bin/python3"))
}

/// The folder of the vendors' libraries; none: they are not to be had.
pub(crate) fn libraries() -> Option<PathBuf> {
    let made = made_once("node-notices-1", |whole| {
        let npm = ["install", "--silent", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(npm).args(LIBRARIES).current_dir(whole))
    });
    had("adaptivecards and @slack/types", made)
}

fn had<T, E: std::fmt::Debug>(what: &str, made: Result<T, E>) -> Option<T> {
    if let Err(error) = &made {
        println!("skipped: {what} is not to be had: {error:?}");
    }
    made.ok()
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ended = command.stdin(Stdio::null()).output()?;
    anyhow::ensure!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}
