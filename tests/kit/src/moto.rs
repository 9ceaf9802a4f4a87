use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::command;
use crate::once::made_once;
use crate::process::Watcher;

/// Others' IAM and STS, with what their server stands on.
const PACKAGES: [&str; 3] = ["moto[iam,sts]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
/// How long it may take for one answer: a machine with other work needs seconds to load all of it.
const PATIENCE: Duration = Duration::from_mins(2);

/// moto on 127.0.0.1: IAM and STS of one account with TLS by an authority of its own. It checks every signature and what policies say.
pub struct Moto {
    child: Child,
    talk: Mutex<(ChildStdin, Receiver<String>)>,
    port: u16,
    authority: Authority,
    folder: TempDir,
    _watcher: Watcher,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl AccessKey {
    /// As a secret of Keywheel.
    pub fn document(&self) -> String {
        json!({ "access_key_id": self.id, "secret_access_key": self.secret }).to_string()
    }
}

impl Moto {
    /// The one account that it has.
    pub const ACCOUNT: &str = "123456789012";

    /// Starts one.
    ///
    /// # Errors
    /// Python or its packages are not to be had; it does not come up.
    pub fn start() -> Result<Self> {
        let python =
            python().context("Python 3 with `venv` is needed, and its package index within reach")?;
        let folder = tempfile::Builder::new().prefix("kw-moto-").tempdir_in("/tmp")?;
        let watcher = Watcher::of_folder(folder.path())?;
        let authority = Authority::new()?;
        let served = authority.issue_local()?;
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [
            ("aws.py", include_str!("aws.py")),
            ("server.pem", &served.certificate_pem),
            ("server.key", &served.key_pem),
        ] {
            fs::write(at(name), text)?;
        }
        let mut child = Command::new(python)
            .args([at("aws.py"), at("server.pem"), at("server.key"), authority.file()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(at("log"))?)
            .spawn()?;
        let stdin = child.stdin.take().context("no pipe")?;
        let stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(std::result::Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).count()
        });
        let mut moto = Self {
            child,
            talk: Mutex::new((stdin, said)),
            port: 0,
            authority,
            folder,
            _watcher: watcher,
        };
        let first = moto.hear().with_context(|| {
            let log = fs::read_to_string(moto.folder.path().join("log"));
            format!("moto does not start:\n{}", log.unwrap_or_default())
        })?;
        moto.port = first.parse()?;
        Ok(moto)
    }

    /// Its port, the same for both services.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority to trust, in a file.
    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// Makes a user that may do `actions` of IAM with each user.
    ///
    /// # Errors
    /// With moto's words.
    pub fn create_user(&self, name: &str, actions: &[&str]) -> Result<()> {
        let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] });
        let policy = if actions.is_empty() { Value::Null } else { policy };
        self.ask(&json!(["user", name, policy])).map(drop)
    }

    /// Makes a key of a user.
    ///
    /// # Errors
    /// With moto's words.
    pub fn create_key(&self, user: &str) -> Result<AccessKey> {
        let key = self.ask(&json!(["key", user]))?;
        let text = |name: &str| key[name].as_str().map(str::to_owned).context("no key");
        Ok(AccessKey {
            id: text("id")?,
            secret: text("secret")?,
        })
    }

    /// The ids of a user's keys.
    ///
    /// # Errors
    /// With moto's words.
    pub fn keys(&self, user: &str) -> Result<Vec<String>> {
        let keys = self.ask(&json!(["keys", user]))?;
        let keys = keys.as_array().context("no list")?.iter();
        Ok(keys
            .filter_map(|key| key[0].as_str().map(str::to_owned))
            .collect())
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// With moto's words.
    pub fn delete(&self, user: &str, id: &str) -> Result<()> {
        self.ask(&json!(["delete", user, id])).map(drop)
    }

    /// Switches a key off.
    ///
    /// # Errors
    /// With moto's words.
    pub fn disable(&self, user: &str, id: &str) -> Result<()> {
        self.ask(&json!(["disable", user, id])).map(drop)
    }

    /// What STS says to boto3 of a key: whose it is, or the code of its refusal.
    ///
    /// # Errors
    /// With boto3's words.
    pub fn caller(&self, key: &AccessKey) -> Result<String> {
        let said = self.ask(&json!(["accepts", key.id, key.secret]))?;
        said.as_str().map(str::to_owned).context("no text")
    }

    /// What is to become of the next request of an action about a user: `lost` (it is done, and the answer does not come), `busy` (503, not done),
    /// `unknown-key` (as if the key were not known yet).
    ///
    /// # Errors
    /// It does not hear.
    pub fn fail(&self, user: &str, action: &str, kind: &str) -> Result<()> {
        self.ask(&json!(["fail", user, action, kind])).map(drop)
    }

    /// How often an action was asked for about a user.
    ///
    /// # Errors
    /// It does not hear.
    pub fn asked(&self, user: &str, action: &str) -> Result<u64> {
        self.ask(&json!(["asked", user, action]))?
            .as_u64()
            .context("no number")
    }

    fn ask(&self, words: &Value) -> Result<Value> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(talk.0, "{words}")?;
        let line = talk.1.recv_timeout(PATIENCE).context("moto does not answer")?;
        let mut said: Value = serde_json::from_str(&line).context(line)?;
        if said["error"].is_string() {
            bail!("moto: {}", said["error"]);
        }
        Ok(said["ok"].take())
    }

    fn hear(&self) -> Result<String> {
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(talk.1.recv_timeout(PATIENCE)?)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python() -> Result<PathBuf> {
    let whole = made_once("python-moto-5.2.5", |whole| {
        let python = whole.join("bin/python3");
        command::run(Command::new("python3").args(["-m", "venv"]).arg(whole))?;
        let pip = ["-m", "pip", "install", "--quiet"];
        command::run(Command::new(python).args(pip).args(PACKAGES))?;
        Ok(())
    })?;
    Ok(whole.join("bin/python3"))
}
