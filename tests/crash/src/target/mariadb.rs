use std::io::Write as _;
use std::net::TcpStream;

use anyhow::Result;
use keywheel_kit::{MariaDb, MariaDbOptions, random_password};
use sha1::{Digest as _, Sha1};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, connect, read_exact};

/// MariaDB, whose users take each of a list of passwords.
pub(crate) struct Server {
    server: MariaDb,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let server = MariaDb::start(MariaDbOptions {
            plaintext: true,
            ..MariaDbOptions::default()
        })?;
        Ok(Self { server })
    }

    fn set(&self, verb: &str, account: &str, password: &str) -> Result<()> {
        let sql = format!("{verb} USER '{account}'@'%' IDENTIFIED BY '{password}'");
        self.server.sql(&sql).map(drop)
    }

    fn hashes(&self, account: &str) -> Result<Vec<String>> {
        let shown = self.server.sql(&format!("SHOW CREATE USER '{account}'@'%'"))?;
        let quoted = shown.split('\'').filter(|text| text.starts_with('*'));
        Ok(quoted.map(str::to_owned).collect())
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn plugin(&self) -> &'static str {
        "mariadb"
    }

    fn is_two_slot(&self, _accounts: &[String]) -> bool {
        true
    }

    fn dialect(&self) -> Make {
        dialect::mysql::make
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    fn root(&self) -> Credential {
        Credential {
            account: self.server.admin_user().to_owned(),
            password: self.server.admin_password().to_owned(),
        }
    }

    fn create(&self, accounts: &[String], password: &str, is_admin: bool) -> Result<()> {
        for account in accounts {
            self.set("CREATE", account, password)?;
            if is_admin {
                let grant = format!(
                    "GRANT CREATE USER ON *.* TO '{account}'@'%'; GRANT SELECT ON mysql.global_priv TO '{account}'@'%'"
                );
                self.server.sql(&grant)?;
            }
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        let Credential { account, password } = credential;
        let mut ways = vec![format!("mysql_native_password USING PASSWORD('{password}')")];
        let old = self.hashes(account)?.into_iter();
        ways.extend(old.map(|hash| format!("mysql_native_password USING '{hash}'")));
        let sql = format!("ALTER USER '{account}'@'%' IDENTIFIED VIA {}", ways.join(" OR "));
        self.server.sql(&sql).map(drop)
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut hashes = Vec::new();
        for account in accounts {
            hashes.extend(self.hashes(account)?.into_iter().map(Carried::Native));
        }
        Ok(hashes)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        let mut accounts = accounts.iter();
        accounts.try_for_each(|account| self.set("ALTER", account, &random_password()))
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        format!(
            "host = \"localhost\"\nport = {port}\ntransport = \"plaintext\"\nadmin = \"{}\"\nuser = \"{}\"\nfrom = [\"%\"]\n",
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
        Box::new(Native)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// A login by `mysql_native_password`, as often as the server asks.
struct Native;

impl Client for Native {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        let answer = connect(port).ok().and_then(|stream| log_in(&stream, credential));
        match answer.as_deref() {
            Some([0x00, ..]) => Said::Accepted,
            // 1045: access denied.
            Some([0xFF, 0x15, 0x04, ..]) => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        let Carried::Native(hash) = carried else {
            return false;
        };
        let twice = Sha1::digest(Sha1::digest(password));
        let made: String = twice.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("*{made}") == *hash
    }
}

/// The packet that ends the login.
fn log_in(stream: &TcpStream, credential: &Credential) -> Option<Vec<u8>> {
    // Protocol 4.1, passwords by a nonce, methods by name.
    const FLAGS: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19;
    const METHOD: &[u8] = b"mysql_native_password";
    let (greeting, number) = read(stream)?;
    let version = greeting.get(1..)?.iter().position(|byte| *byte == 0)? + 2;
    let nonce = [
        greeting.get(version + 4..version + 12)?,
        greeting.get(version + 31..version + 43)?,
    ];
    let answer = scramble(&nonce.concat(), &credential.password);
    let mut login = FLAGS.to_le_bytes().to_vec();
    login.extend((1_u32 << 24).to_le_bytes());
    login.push(45);
    login.extend([0; 23]);
    login.extend_from_slice(credential.account.as_bytes());
    login.extend([0, 20]);
    login.extend_from_slice(&answer);
    login.extend_from_slice(METHOD);
    login.push(0);
    write(stream, number + 1, &login)?;
    for _ in 0..8 {
        let (packet, number) = read(stream)?;
        let Some(asked) = packet.strip_prefix(&[0xFE]) else {
            return Some(packet);
        };
        let nonce = asked.strip_prefix(METHOD)?.strip_prefix(&[0])?;
        write(
            stream,
            number + 1,
            &scramble(nonce.get(..20)?, &credential.password),
        )?;
    }
    None
}

fn scramble(nonce: &[u8], password: &str) -> Vec<u8> {
    let once = Sha1::digest(password);
    let mask = Sha1::new()
        .chain_update(nonce)
        .chain_update(Sha1::digest(once))
        .finalize();
    once.iter().zip(mask).map(|(one, other)| one ^ other).collect()
}

/// A packet and its number.
fn read(stream: &TcpStream) -> Option<(Vec<u8>, u8)> {
    let header = read_exact(stream, 4).ok()?;
    let length = usize::from(header[0]) | usize::from(header[1]) << 8;
    Some((read_exact(stream, length).ok()?, header[3]))
}

fn write(mut stream: &TcpStream, number: u8, content: &[u8]) -> Option<()> {
    let length = u8::try_from(content.len()).ok()?;
    stream
        .write_all(&[&[length, 0, 0, number], content].concat())
        .ok()
}
