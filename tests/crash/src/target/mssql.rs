use std::io::Write as _;

use anyhow::{Context as _, Result};
use keywheel_kit::{Encryption, Policy, SqlServer, SqlServerOptions, strong_password};

use crate::dialect::{self, Carried, Make};
use crate::record::Said;
use crate::target::{Client, Credential, Subject, Target, connect, read_exact};

/// SQL Server, as the one of `tests/servers/tds` is: a login has one password.
pub(crate) struct Server {
    server: SqlServer,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let server = SqlServer::start(SqlServerOptions {
            encryption: Encryption::None,
            // Nobody's password is looked at but the one of a rotation, which has all kinds of characters.
            policy: Policy {
                complexity: false,
                ..Policy::default()
            },
            ..SqlServerOptions::default()
        })?;
        Ok(Self { server })
    }

    fn run(&self, verb: &str, account: &str, password: &str) -> Result<()> {
        let sql = format!("{verb} LOGIN [{account}] WITH PASSWORD = N'{password}'");
        self.server.sql("master", &sql).map(drop)
    }
}

impl Target for Server {
    fn name(&self) -> &'static str {
        "mssql"
    }

    fn plugin(&self) -> &'static str {
        "mssql"
    }

    fn is_two_slot(&self, _accounts: &[String]) -> bool {
        false
    }

    fn dialect(&self) -> Make {
        dialect::mssql::make
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
            self.run("CREATE", account, password)?;
            if is_admin {
                let grant = format!("GRANT ALTER ANY LOGIN TO [{account}]");
                self.server.sql("master", &grant)?;
            }
        }
        Ok(())
    }

    fn set_by_hand(&self, credential: &Credential) -> Result<()> {
        self.run("ALTER", &credential.account, &credential.password)
    }

    fn accepts(&self, accounts: &[String]) -> Result<Vec<Carried>> {
        let mut taken = Vec::new();
        for account in accounts {
            let asked = format!("SELECT is_disabled FROM sys.sql_logins WHERE name = '{account}'");
            // A disabled login keeps its password, and takes none.
            if self.server.sql("master", &asked)? == "0" {
                let password = self.server.password_of("master", account);
                taken.push(Carried::Plain(password.context("no such login")?));
            }
        }
        Ok(taken)
    }

    fn spoil(&self, accounts: &[String]) -> Result<()> {
        accounts
            .iter()
            .try_for_each(|account| self.run("ALTER", account, &strong_password()))
    }

    fn config(&self, subject: &Subject, port: u16) -> String {
        format!(
            "host = \"localhost\"\nport = {port}\ntransport = \"plaintext\"\nadmin = \"{}\"\nuser = \"{}\"\n",
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
        Box::new(Tds)
    }

    fn kill(&mut self) -> Result<()> {
        self.server.kill9()
    }

    fn restart(&mut self) -> Result<()> {
        self.server.restart()
    }
}

/// A login by TDS 7.4, without TLS.
struct Tds;

impl Client for Tds {
    fn login(&mut self, port: u16, credential: &Credential) -> Said {
        match log_in(port, credential) {
            Some(Ok(())) => Said::Accepted,
            // Login failed; the password is right, and the login disabled.
            Some(Err(18456 | 18470)) => Said::Refused,
            _ => Said::Unreachable,
        }
    }

    fn carries(&mut self, carried: &Carried, password: &str) -> bool {
        *carried == Carried::Plain(password.to_owned())
    }
}

/// The number of the error that refuses it; none: nobody could say.
fn log_in(port: u16, credential: &Credential) -> Option<Result<(), u32>> {
    // No version, no encryption.
    const PRELOGIN: &[u8] = &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 0, 0, 0, 0, 0, 0, 2];
    const ERROR: u8 = 0xAA;
    const TAKEN: u8 = 0xAD;
    let mut stream = connect(port).ok()?;
    let mut exchange = |kind: u8, message: &[u8]| {
        let length = u16::try_from(message.len() + 8).ok()?.to_be_bytes();
        let packet = [&[kind, 1, length[0], length[1], 0, 0, 1, 0], message].concat();
        stream.write_all(&packet).ok()?;
        let header = read_exact(&stream, 8).ok()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        read_exact(&stream, length.checked_sub(8)?).ok()
    };
    exchange(0x12, PRELOGIN)?;
    let answer = exchange(0x10, &login(credential)?)?;
    // Tokens with their lengths, up to the first that decides.
    let mut at = 0;
    loop {
        let token = *answer.get(at)?;
        let length = usize::from(u16::from_le_bytes(*answer.get(at + 1..at + 3)?.first_chunk()?));
        match token {
            ERROR => {
                return Some(Err(u32::from_le_bytes(
                    *answer.get(at + 3..at + 7)?.first_chunk()?,
                )));
            }
            TAKEN => return Some(Ok(())),
            _ => at += 3 + length,
        }
    }
}

fn login(credential: &Credential) -> Option<Vec<u8>> {
    const FIXED: usize = 94;
    let wide = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let user = wide(&credential.account);
    let password: Vec<u8> = wide(&credential.password)
        .iter()
        .map(|byte| byte.rotate_left(4) ^ 0xA5)
        .collect();
    let mut message = vec![0; FIXED];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    let two = |number: usize| u16::try_from(number).ok().map(u16::to_le_bytes);
    put(
        0,
        &u32::try_from(FIXED + user.len() + password.len())
            .ok()?
            .to_le_bytes(),
    );
    put(4, &0x7400_0004_u32.to_le_bytes());
    put(8, &4096_u32.to_le_bytes());
    put(40, &two(FIXED)?);
    put(42, &two(user.len() / 2)?);
    put(44, &two(FIXED + user.len())?);
    put(46, &two(password.len() / 2)?);
    Some([message, user, password].concat())
}
