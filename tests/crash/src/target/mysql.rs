use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;
use keywheel_kit::{MariaDbOptions, MySql, random_password};
use sha2::{Digest as _, Sha256};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, PATIENCE, Subject, Target};

/// MySQL, whose users take two passwords.
pub(crate) struct Server {
    server: MySql,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let server = MySql::start(MariaDbOptions {
            plaintext: true,
            ..MariaDbOptions::default()
        })?;
        Ok(Self { server })
    }

    fn run(&self, verb: &str, account: &str, password: &str, end: &str) -> Result<()> {
        let sql = format!("{verb} USER '{account}'@'%' IDENTIFIED BY '{password}'{end}");
        self.server.sql(&sql).map(drop)
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn plugin(&self) -> &'static str {
        "mysql"
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
            self.run("CREATE", account, password, "")?;
            if is_admin {
                let grant = format!(
                    "GRANT CREATE USER ON *.* TO '{account}'@'%'; GRANT SELECT ON mysql.user TO '{account}'@'%'"
                );
                self.server.sql(&grant)?;
            }
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        let Credential { account, password } = credential;
        self.run("ALTER", account, password, " RETAIN CURRENT PASSWORD")
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut hashes = Vec::new();
        for account in accounts {
            // The server's own salts hold tabs and line feeds, too.
            let asked = format!(
                "SELECT hex(authentication_string), hex(coalesce(json_value(user_attributes, '$.additional_password'), '')) \
                 FROM mysql.user WHERE user = '{account}'"
            );
            let shown = self.server.sql(&asked)?;
            let kept = shown.split('\t').filter(|hash| !hash.is_empty());
            hashes.extend(kept.filter_map(unhexed).map(Carried::Caching));
        }
        Ok(hashes)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        for account in accounts {
            let end = format!("; ALTER USER '{account}'@'%' DISCARD OLD PASSWORD");
            self.run("ALTER", account, &random_password(), &end)?;
        }
        Ok(())
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
        Box::new(Caching {
            socket: self.server.socket(),
        })
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// A login by `caching_sha2_password` over the server's Unix socket: there it takes the password as it is, and looks at the hash that it keeps.
struct Caching {
    socket: PathBuf,
}

impl Client for Caching {
    fn login(&mut self, _port: u16, credential: &Credential) -> Said {
        match log_in(&self.socket, credential).as_deref() {
            Some([0x00, ..]) => Said::Accepted,
            // 1045: access denied.
            Some([0xFF, 0x15, 0x04, ..]) => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        let Carried::Caching(hash) = carried else {
            return false;
        };
        // `$A$`, rounds in thousands and hexadecimal, `$`, twenty characters of salt, and the sum.
        let parts = hash
            .strip_prefix("$A$")
            .and_then(|rest| rest.split_once('$'))
            .and_then(|(rounds, rest)| {
                Some((u32::from_str_radix(rounds, 16).ok()?, rest.split_at_checked(20)?))
            });
        parts.is_some_and(|(thousands, (salt, sum))| {
            crypt(password.as_bytes(), salt.as_bytes(), thousands * 1000) == sum
        })
    }
}

fn unhexed(digits: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// The packet that ends the login.
fn log_in(socket: &Path, credential: &Credential) -> Option<Vec<u8>> {
    // Protocol 4.1, passwords by a nonce, methods by name.
    const FLAGS: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19;
    const METHOD: &[u8] = b"caching_sha2_password\0";
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let (_greeting, number) = read(&stream)?;
    let mut login = FLAGS.to_le_bytes().to_vec();
    login.extend((1_u32 << 24).to_le_bytes());
    login.push(45);
    login.extend([0; 23]);
    login.extend_from_slice(credential.account.as_bytes());
    // An answer to the nonce that is never right: the server then asks for the password itself.
    login.extend([0, 32]);
    login.extend([0; 32]);
    login.extend_from_slice(METHOD);
    write(&stream, number + 1, &login)?;
    for _ in 0..8 {
        let (packet, number) = read(&stream)?;
        match packet.as_slice() {
            [0xFE, ..] => write(&stream, number + 1, &[0; 32])?,
            [0x01, 0x04] => {
                let whole = [credential.password.as_bytes(), &[0]].concat();
                write(&stream, number + 1, &whole)?;
            }
            _ => return Some(packet),
        }
    }
    None
}

/// A packet and its number.
fn read(mut stream: &UnixStream) -> Option<(Vec<u8>, u8)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let mut packet = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]]))];
    stream.read_exact(&mut packet).ok()?;
    Some((packet, header[3]))
}

fn write(mut stream: &UnixStream, number: u8, content: &[u8]) -> Option<()> {
    let length = u8::try_from(content.len()).ok()?;
    stream
        .write_all(&[&[length, 0, 0, number], content].concat())
        .ok()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

/// SHA-crypt with SHA-256, by its specification: the sum in its own letters.
fn crypt(password: &[u8], salt: &[u8], rounds: u32) -> String {
    let again = |sum: &[u8], length: usize| sum.iter().copied().cycle().take(length).collect::<Vec<u8>>();
    let inner = hash(&[password, salt, password]);
    let mut start = [password, salt, &again(&inner, password.len())].concat();
    for bit in 0..usize::BITS - password.len().leading_zeros() {
        let is_set = password.len() >> bit & 1 == 1;
        start.extend_from_slice(if is_set { &inner } else { password });
    }
    let mut sum = hash(&[&start]);
    let p = again(&hash(&[&password.repeat(password.len())]), password.len());
    let s = again(&hash(&[&salt.repeat(16 + usize::from(sum[0]))]), salt.len());
    for round in 0..rounds {
        let odd = round % 2 == 1;
        let mut parts: Vec<&[u8]> = vec![if odd { &p } else { &sum }];
        if round % 3 != 0 {
            parts.push(&s);
        }
        if round % 7 != 0 {
            parts.push(&p);
        }
        parts.push(if odd { &sum } else { &p });
        sum = hash(&parts);
    }
    letters(&sum)
}

fn letters(sum: &[u8; 32]) -> String {
    const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // The last byte of each three first.
    const ORDER: [[usize; 3]; 10] = [
        [20, 10, 0],
        [11, 1, 21],
        [2, 22, 12],
        [23, 13, 3],
        [14, 4, 24],
        [5, 25, 15],
        [26, 16, 6],
        [17, 7, 27],
        [8, 28, 18],
        [29, 19, 9],
    ];
    let mut text = String::new();
    let mut push = |bytes: &[u8], count: usize| {
        let bits = bytes
            .iter()
            .rev()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let letter = |at: usize| char::from(LETTERS[(bits >> (6 * at) & 63) as usize]);
        text.extend((0..count).map(letter));
    };
    for group in ORDER {
        push(&group.map(|at| sum[at]), 4);
    }
    push(&[sum[30], sum[31]], 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_the_server_is_known_again() {
        // Made by MySQL 9.7: ten thousand rounds.
        let made = "$A$00A$abcdefghijklmnopqrstAxBm7tL.0PFKuLRJaXsV3PxpH0L5HScKUW3ix46JXU2";
        let mut client = Caching {
            socket: PathBuf::new(),
        };
        let carried = Carried::Caching(made.to_owned());
        assert!(client.carries(&carried, "pwone") && !client.carries(&carried, "pwtwo"));
    }
}
