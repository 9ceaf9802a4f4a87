//! The reference's connections. They are the engine's own, so that both sides pay the same for the transport; a session of MySQL, MariaDB and SQL
//! Server bounds each statement on the server, which is one more round trip.

use std::time::Duration;

use anyhow::{Result, ensure};
use keywheel_model::SecretBytes;
use keywheel_target::channel::Channel;
use keywheel_target::dial::Dialer;
use keywheel_target::frame::{Frame, Framing};
use keywheel_target::ldap::{self, Bound};
use keywheel_target::postgres::{Access, ConnectOptions, Security};
use keywheel_target::resp::{self, Bounds, Reply};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::tls::{TlsOptions, TrustStore};
use keywheel_target::{Deadline, Outbound, mssql, mysql};

use super::kind::Kind;

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 64 * 1024;

/// Identifier octets of BER (RFC 4511).
mod tag {
    pub(super) const INTEGER: u32 = 0x02;
    pub(super) const OCTETS: u32 = 0x04;
    pub(super) const ENUMERATED: u32 = 0x0a;
    pub(super) const SEQUENCE: u32 = 0x30;
    pub(super) const SET: u32 = 0x31;
    pub(super) const BIND: u32 = 0x60;
    pub(super) const MODIFY: u32 = 0x66;
    pub(super) const SIMPLE: u32 = 0x80;
}

/// The account, the password that it gets, and what sets it.
pub(crate) struct Change {
    pub(crate) account: String,
    pub(crate) password: String,
    sent: Sent,
}

enum Sent {
    Sql(Statement),
    Frames(Vec<SecretBytes>),
}

impl Change {
    /// To a fresh password, by the statement of the kind's plugin.
    pub(crate) fn of(kind: &Kind, account: &str) -> Result<Self> {
        let password = kind.password();
        let secret = SecretBytes::copy_of(password.as_bytes());
        let sent = match kind {
            Kind::MySql(_) => {
                let salt = std::array::from_fn(|at| password.as_bytes()[at]);
                let mut statement = alter_user(Dialect::MySql, account)?;
                statement.text(" IDENTIFIED WITH caching_sha2_password AS ")?;
                statement.secret_literal(mysql::caching_sha2_hash(&secret, &salt))?;
                statement.text(" RETAIN CURRENT PASSWORD")?;
                Sent::Sql(statement)
            }
            Kind::MariaDb(_) => {
                let mut statement = alter_user(Dialect::MariaDb, account)?;
                statement.text(" IDENTIFIED VIA mysql_native_password USING ")?;
                statement.secret_literal(mysql::native_password_hash(&secret))?;
                statement.text(" OR mysql_native_password USING ")?;
                let before = SecretBytes::copy_of(kind.password().as_bytes());
                statement.secret_literal(mysql::native_password_hash(&before))?;
                Sent::Sql(statement)
            }
            Kind::Mssql(_) => {
                let mut statement = Statement::new(Dialect::MsSql);
                statement.text("ALTER LOGIN ")?;
                statement.identifier(account)?;
                statement.text(" WITH PASSWORD = ")?;
                statement.secret_literal(secret)?;
                Sent::Sql(statement)
            }
            Kind::Redis(_) => {
                let set = format!(">{password}");
                Sent::Frames(vec![
                    command(&["ACL", "SETUSER", account, "resetpass", &set])?,
                    command(&["ACL", "SAVE"])?,
                ])
            }
            Kind::Ldap(..) => {
                let salt = std::array::from_fn(|at| password.as_bytes()[at]);
                let value = ldap::salted_sha1(&secret, &salt);
                Sent::Frames(vec![replace(account, value)?])
            }
        };
        Ok(Self {
            account: account.to_owned(),
            password,
            sent,
        })
    }
}

fn alter_user(dialect: Dialect, account: &str) -> Result<Statement> {
    let mut statement = Statement::new(dialect);
    statement.text("ALTER USER ")?;
    statement.literal(account)?;
    statement.text("@'%'")?;
    Ok(statement)
}

/// A logged-in connection.
pub(crate) enum Door {
    MySql(mysql::Session),
    Mssql(mssql::Session),
    Redis(Channel),
    Ldap(Channel),
}

impl Door {
    /// Dials and logs in like any client.
    pub(crate) async fn log_in(kind: &Kind, account: &str, password: &str) -> Result<Self> {
        let mut trust = TrustStore::new();
        trust.add_pem("bench", &std::fs::read(kind.ca_file())?)?;
        let outbound = Outbound::new(Dialer::system(), trust);
        let rules = [format!("localhost:{} tls", kind.port()).parse()?];
        let (tls, deadline) = (
            TlsOptions::for_name("localhost").trusting("bench"),
            Deadline::after(PATIENCE),
        );
        let secret = SecretBytes::copy_of(password.as_bytes());
        let mut options = ConnectOptions::new("localhost", kind.port(), "", account, Some(secret));
        options.security = Security::Tls(tls.clone());
        let channel = Channel::connect_tls(&outbound, &rules, "localhost", kind.port(), &tls, deadline);
        Ok(match kind {
            Kind::MySql(_) | Kind::MariaDb(_) => {
                Self::MySql(mysql::Session::open(&outbound, &rules, &options, deadline).await?)
            }
            Kind::Mssql(_) => Self::Mssql(mssql::Session::open(&outbound, &rules, &options, deadline).await?),
            Kind::Redis(_) => {
                let mut door = Self::Redis(channel.await?);
                door.ask(&command(&["AUTH", account, password])?).await?;
                door
            }
            Kind::Ldap(..) => {
                let mut door = Self::Ldap(channel.await?);
                door.ask(&bind(account, password)?).await?;
                door
            }
        })
    }

    /// Makes a change.
    pub(crate) async fn send(&mut self, change: &Change) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        match (self, &change.sent) {
            (Self::MySql(session), Sent::Sql(statement)) => {
                session.execute(statement, Access::Write, deadline).await?;
            }
            (Self::Mssql(session), Sent::Sql(statement)) => {
                session.execute(statement, Access::Write, deadline).await?;
            }
            (door, Sent::Frames(frames)) => {
                for frame in frames {
                    door.ask(frame).await?;
                }
            }
            _ => anyhow::bail!("a statement for another kind of server"),
        }
        Ok(())
    }

    /// One message and its answer, which has to be good.
    async fn ask(&mut self, frame: &SecretBytes) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        match self {
            Self::Redis(channel) => {
                channel.write_secret(frame, deadline).await?;
                let reply = resp::read_reply(channel, Bounds::default(), deadline).await?;
                ensure!(reply == Reply::Simple("OK".to_owned()), "{:?}", reply.status());
            }
            Self::Ldap(channel) => {
                channel.write_secret(frame, deadline).await?;
                let answer = ldap::read_answer(channel, ANSWER_BYTES, deadline).await?;
                let is_good = answer.code() == Some(0) || answer.bound() == Bound::Accepted;
                ensure!(is_good, "the directory answers {:?}", answer.code());
            }
            Self::MySql(_) | Self::Mssql(_) => anyhow::bail!("no frames for this kind of server"),
        }
        Ok(())
    }
}

fn command(words: &[&str]) -> Result<SecretBytes> {
    let mut frame = Frame::new(Framing::Resp);
    for word in words {
        element(&mut frame, 0, word.as_bytes())?;
    }
    Ok(frame.finish()?)
}

fn element(frame: &mut Frame, tag: u32, content: &[u8]) -> Result<()> {
    frame.open(tag)?;
    frame.bytes(content)?;
    Ok(frame.close()?)
}

/// A simple bind (RFC 4511 section 4.2). The reference's accounts are short names but for its administrator's.
fn bind(account: &str, password: &str) -> Result<SecretBytes> {
    let mut frame = Frame::new(Framing::Ber);
    frame.open(tag::SEQUENCE)?;
    element(&mut frame, tag::INTEGER, &[1])?;
    frame.open(tag::BIND)?;
    element(&mut frame, tag::INTEGER, &[3])?;
    element(&mut frame, tag::OCTETS, name(account).as_bytes())?;
    element(&mut frame, tag::SIMPLE, password.as_bytes())?;
    frame.close()?;
    frame.close()?;
    Ok(frame.finish()?)
}

/// A modify that leaves this value alone (RFC 4511 section 4.6).
fn replace(account: &str, value: SecretBytes) -> Result<SecretBytes> {
    let mut frame = Frame::new(Framing::Ber);
    frame.open(tag::SEQUENCE)?;
    element(&mut frame, tag::INTEGER, &[2])?;
    frame.open(tag::MODIFY)?;
    element(&mut frame, tag::OCTETS, name(account).as_bytes())?;
    frame.open(tag::SEQUENCE)?;
    frame.open(tag::SEQUENCE)?;
    element(&mut frame, tag::ENUMERATED, &[2])?;
    frame.open(tag::SEQUENCE)?;
    element(&mut frame, tag::OCTETS, b"userPassword")?;
    frame.open(tag::SET)?;
    frame.open(tag::OCTETS)?;
    frame.secret(value)?;
    for _ in 0..7 {
        frame.close()?;
    }
    Ok(frame.finish()?)
}

fn name(account: &str) -> String {
    if account.contains('=') {
        account.to_owned()
    } else {
        keywheel_kit::OpenLdap::name_of(account)
    }
}
