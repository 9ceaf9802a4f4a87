//! The session of servers whose protocol is spoken here (MySQL and MariaDB, SQL Server): what is the same of all of them. Nothing runs in a
//! transaction but what reads.

use std::io;
use std::net::SocketAddr;

use keywheel_model::{Effect, SecretBytes};
use zeroize::Zeroizing;

use crate::dial::Allow;
use crate::postgres::{Access, ConnectOptions, Ending, RowLimits, Rows};
use crate::statement::{Dialect, Statement, Value};
use crate::{Deadline, Error, Outbound};

/// What is a protocol's own.
pub trait Protocol: Sized + Send {
    /// What a session begins with.
    const PINS: &'static str;
    /// Asks for the names that the server knows the session by.
    const NAMES: &'static str;
    /// Why none is begun.
    const NO_TRANSACTIONS: &'static str;

    /// Dials and logs in. All errors are without effect.
    fn connect(
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(Self, SocketAddr), Error>> + Send;

    /// What statements for it are quoted by.
    fn dialect(&self) -> Dialect;

    /// Whether a statement may be sent at all.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    fn check(statement: &Statement, access: Access) -> Result<(), Error>;

    /// A statement with what bounds it on the server and, if it only reads, holds it to that.
    fn frame(&self, sql: &str, access: Access, deadline: Deadline) -> Framed;

    /// Sends one text and reads its answer, which takes as long as it takes.
    fn exchange(&mut self, sql: &str, limits: RowLimits, asked: Asked)
    -> impl Future<Output = Answer> + Send;

    /// Whether one of the session's names is this user's.
    fn is_of(name: &str, user: &str) -> bool;
}

/// What is sent for one statement, one after the other.
pub struct Framed {
    /// The host's own, before it.
    pub(crate) before: Vec<String>,
    pub(crate) sql: Zeroizing<String>,
    /// The host's own, after it, whatever came of it.
    pub(crate) after: Option<&'static str>,
}

/// What an error may say, and of what.
#[derive(Clone, Copy)]
pub struct Asked {
    pub(crate) doing: &'static str,
    /// The text has a secret in it.
    pub(crate) secret: bool,
    /// What is to be feared of a text that was sent and not answered.
    pub(crate) sent: Effect,
}

/// What a text came to.
pub struct Answer {
    /// How many rows it touched, and those that it gave.
    pub(crate) result: Result<(u64, Rows), Error>,
    /// Another text may follow.
    pub(crate) leaves_session: bool,
}

/// A logged-in connection. Dropping it closes it.
pub struct Session<P> {
    protocol: P,
    address: SocketAddr,
    /// An answer was lost or cut: nothing may be sent any more.
    broken: bool,
    /// Set while a call runs: if its future is dropped half-way, the session is of no more use.
    busy: bool,
}

impl<P: Protocol> Session<P> {
    /// Dials, logs in, pins the settings. SQL Server enters the database of the options, if it has one; the others' statements name theirs.
    ///
    /// # Errors
    /// As [`crate::dial::Dialer::dial`]; [`Error::PlaintextDenied`], the errors of a handshake, [`Error::Sql`] with kind `unauthenticated` for
    /// a refused login, [`Error::OtherAccount`]. All without effect.
    pub async fn open(
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let (protocol, address) = P::connect(outbound, rules, options, deadline).await?;
        let mut session = Self {
            protocol,
            address,
            broken: false,
            busy: false,
        };
        session.run(P::PINS, deadline).await?;
        if options.proof {
            session.check_account(&options.user, deadline).await?;
        }
        Ok(session)
    }

    /// The dialect of statements for it, by what the server says of itself.
    pub fn dialect(&self) -> Dialect {
        self.protocol.dialect()
    }

    /// The address it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a transaction is open: never.
    #[expect(clippy::unused_self, reason = "as the sessions of other servers")]
    pub fn in_transaction(&self) -> bool {
        false
    }

    /// Whether it can be used further.
    pub fn is_usable(&self) -> bool {
        !self.busy && !self.broken
    }

    /// Runs a statement for its effect; the number of rows it touched.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::Sql`]; [`Error::Timeout`] and [`Error::Lost`], whose effect is `maybe` for a
    /// writing statement.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        access: Access,
        deadline: Deadline,
    ) -> Result<u64, Error> {
        let done = self.perform(statement, access, RowLimits::default(), deadline);
        done.await.map(|(count, _)| count)
    }

    /// Runs a statement and gives back its rows. One with a secret is refused: it is execute-only (rule H6).
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn query(
        &mut self,
        statement: &Statement,
        access: Access,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<Rows, Error> {
        if statement.carries_secret() {
            return Err(Error::invalid(
                "a statement with a secret gives no rows back; execute it",
            ));
        }
        let done = self.perform(statement, access, limits, deadline);
        done.await.map(|(_, rows)| rows)
    }

    /// One value of a one-row answer as a secret.
    ///
    /// # Errors
    /// As [`Session::query`]; [`Error::Protocol`] when there is not exactly one row, no such column, or it is not text or bytes: with
    /// effect `applied` for a writing statement.
    pub async fn capture(
        &mut self,
        statement: &Statement,
        column: &str,
        access: Access,
        deadline: Deadline,
    ) -> Result<SecretBytes, Error> {
        let limits = RowLimits {
            rows: 2,
            ..RowLimits::default()
        };
        let rows = self.query(statement, access, limits, deadline).await?;
        rows.into_secret(column, access)
    }

    /// Begins no transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`], always.
    #[expect(clippy::unused_async, reason = "as the sessions of other servers")]
    pub async fn begin(&mut self, _deadline: Deadline) -> Result<(), Error> {
        Err(Error::invalid(P::NO_TRANSACTIONS))
    }

    /// Commits what was never begun.
    ///
    /// # Errors
    /// [`Error::Invalid`], always.
    #[expect(clippy::unused_async, reason = "as the sessions of other servers")]
    pub async fn commit(&mut self, _deadline: Deadline) -> Result<(), Error> {
        Err(Error::invalid("no transaction is open"))
    }

    /// As [`Session::commit`].
    ///
    /// # Errors
    /// [`Error::Invalid`], always.
    pub async fn rollback(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.commit(deadline).await
    }

    /// Closes it.
    #[expect(clippy::unused_self, reason = "as the sessions of other servers")]
    pub fn close(self) -> Ending {
        Ending::Clean
    }

    async fn perform(
        &mut self,
        statement: &Statement,
        access: Access,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<(u64, Rows), Error> {
        P::check(statement, access)?;
        let (rendered, secret) = (statement.render()?, statement.carries_secret());
        let sent = match access {
            Access::Read => Effect::None,
            Access::Write => Effect::Maybe,
        };
        let Framed { before, sql, after } = self.protocol.frame(&rendered.sql, access, deadline);
        for own in &before {
            self.run(own, deadline).await?;
        }
        let done = self.ask(&sql, limits, secret, sent, deadline).await;
        if let Some(after) = after.filter(|_| self.is_usable()) {
            let left = self.run(after, deadline).await;
            self.broken |= left.is_err();
            left?;
        }
        done
    }

    /// A text of the host's own.
    async fn run(&mut self, sql: &str, deadline: Deadline) -> Result<(), Error> {
        let done = self.ask(sql, RowLimits::default(), false, Effect::None, deadline);
        done.await.map(drop)
    }

    async fn ask(
        &mut self,
        sql: &str,
        limits: RowLimits,
        secret: bool,
        sent: Effect,
        deadline: Deadline,
    ) -> Result<(u64, Rows), Error> {
        const WAITING: &str = "waiting for the server's answer";
        if !self.is_usable() {
            return Err(Error::Lost {
                doing: "using a session that has ended",
                effect: Effect::None,
                source: io::ErrorKind::NotConnected.into(),
            });
        }
        let asked = Asked {
            doing: WAITING,
            secret,
            sent,
        };
        self.busy = true;
        let exchange = self.protocol.exchange(sql, limits, asked);
        let answered = deadline.run(WAITING, sent, exchange).await;
        self.busy = false;
        self.broken |= !matches!(&answered, Ok(answer) if answer.leaves_session);
        answered?.result
    }

    /// A server that lets somebody in as somebody else, or everybody as nobody, has looked at no password of this user.
    async fn check_account(&mut self, user: &str, deadline: Deadline) -> Result<(), Error> {
        let asked = self.ask(P::NAMES, RowLimits::default(), false, Effect::None, deadline);
        let (_, rows) = asked.await?;
        let text = |value| {
            if let Value::Text(name) = value {
                Some(name)
            } else {
                None
            }
        };
        let names: Vec<String> = rows.rows.into_iter().flatten().filter_map(text).collect();
        if names.iter().any(|name| P::is_of(name, user)) {
            return Ok(());
        }
        Err(Error::OtherAccount {
            user: user.to_owned(),
            account: names.into_iter().next().unwrap_or_default(),
        })
    }
}

/// What a stream's error says: of `whose` protocol, with answers of at most `limit` bytes.
pub(crate) fn stream_error(
    source: io::Error,
    doing: &'static str,
    sent: Effect,
    (whose, limit): (&'static str, usize),
) -> Error {
    match source.kind() {
        io::ErrorKind::QuotaExceeded => Error::Limit {
            what: "the answer",
            limit,
            effect: sent,
        },
        io::ErrorKind::InvalidData => Error::Protocol {
            expected: whose,
            effect: sent,
        },
        _ => Error::Lost {
            doing,
            effect: sent,
            source,
        },
    }
}

/// A server's words: no control characters, and not too many.
pub(crate) fn one_line(message: &str) -> String {
    const CHARACTERS: usize = 400;
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(CHARACTERS)
        .collect()
}

impl<P: Protocol> std::fmt::Debug for Session<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("dialect", &self.dialect())
            .finish_non_exhaustive()
    }
}
