use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result};
use keywheel_kit::{Redis, RedisOptions, random_password};
use sha2::{Digest as _, Sha256};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, connect, read_exact};

/// Redis with its users in an ACL file.
pub(crate) struct Server {
    server: Redis,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let server = Redis::start(RedisOptions {
            plaintext: true,
            ..RedisOptions::default()
        })?;
        Ok(Self { server })
    }

    /// Commands as the administrator, by the wire: a password is in no list of processes.
    fn command(&self, words: &[&str]) -> Result<()> {
        let root = self.root();
        let stream = connect(self.port())?;
        for words in [
            &["AUTH", &root.account, &root.password][..],
            words,
            &["ACL", "SAVE"],
        ] {
            let answer = ask(&stream, words).context("Redis does not answer")?;
            anyhow::ensure!(answer.starts_with('+'), "Redis: {answer}");
        }
        Ok(())
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn plugin(&self) -> &'static str {
        "redis"
    }

    fn is_two_slot(&self, _accounts: &[String]) -> bool {
        true
    }

    fn dialect(&self) -> Make {
        dialect::redis::make
    }

    fn port(&self) -> u16 {
        self.server.plaintext_port().unwrap_or_default()
    }

    fn root(&self) -> Credential {
        Credential {
            account: self.server.admin_user().to_owned(),
            password: self.server.admin_password().to_owned(),
        }
    }

    fn create(&self, accounts: &[String], password: &str, _is_admin: bool) -> Result<()> {
        let password = format!(">{password}");
        for account in accounts {
            self.command(&[
                "ACL", "SETUSER", account, "reset", "on", &password, "~*", "&*", "+@all",
            ])?;
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        let password = format!(">{}", credential.password);
        self.command(&["ACL", "SETUSER", &credential.account, &password])
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut hashes = Vec::new();
        for account in accounts {
            let known = self.server.command(&["ACL", "GETUSER", account])?;
            let is_hash = |line: &&str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            hashes.extend(
                known
                    .lines()
                    .filter(is_hash)
                    .map(|hash| Carried::Sha256(hash.to_owned())),
            );
        }
        Ok(hashes)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        accounts.iter().try_for_each(|account| {
            let password = format!(">{}", random_password());
            self.command(&["ACL", "SETUSER", account, "resetpass", &password])
        })
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        format!(
            "nodes = [{{ host = \"localhost\", port = {port} }}]\ntransport = \"plaintext\"\nadmin = \"{}\"\nuser = \"{}\"\n",
            subject.admin.0,
            subject.accounts.concat()
        )
    }

    fn credential(&self, accounts: &[String], value: &str) -> Result<Credential> {
        Ok(Credential {
            account: accounts.concat(),
            password: value.to_owned(),
        })
    }

    fn client(&self) -> Box<dyn Client> {
        Box::new(Resp)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

struct Resp;

impl Client for Resp {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        let words = ["AUTH", &credential.account, &credential.password];
        let answer = connect(port).ok().and_then(|stream| ask(&stream, &words));
        match answer.as_deref() {
            Some("+OK") => Said::Accepted,
            Some(words) if words.starts_with("-WRONGPASS") => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        let Carried::Sha256(hash) = carried else {
            return false;
        };
        let made: String = Sha256::digest(password)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        made == *hash
    }
}

/// The first line of the answer.
fn ask(mut stream: &TcpStream, words: &[&str]) -> Option<String> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(command, "${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes()).ok()?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < 4096 {
        line.extend(read_exact(stream, 1).ok()?);
    }
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}
