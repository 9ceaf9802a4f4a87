use std::net::SocketAddr;

use keywheel_model::{Effect, SecretBytes};

use super::connect::{Wire, connect};
use super::packet::Packets;
use super::reply::{Trouble, ask};
use super::settings;
use crate::dial::Allow;
use crate::postgres::{Access, ConnectOptions, Ending, RowLimits, Rows};
use crate::statement::{Dialect, Statement, Value};
use crate::{Deadline, Error, Outbound};

/// A logged-in connection. Dropping it closes it.
pub struct Session {
    packets: Packets<Wire>,
    dialect: Dialect,
    address: SocketAddr,
    /// An answer was lost or cut: nothing may be sent any more.
    broken: bool,
    /// Set while a call runs: if its future is dropped half-way, the session is of no more use.
    busy: bool,
}

impl Session {
    /// Dials, logs in, pins the settings. The database of the options is not entered: statements name theirs.
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
        let connected = connect(outbound, rules, options, deadline).await?;
        let mut session = Self {
            packets: connected.packets,
            dialect: connected.dialect,
            address: connected.address,
            broken: false,
            busy: false,
        };
        session.run(settings::PINS, deadline).await?;
        if options.proof {
            session.check_account(&options.user, deadline).await?;
        }
        Ok(session)
    }

    /// The dialect of statements for it, by what the server says of itself.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The address it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a transaction is open: never.
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
        settings::check(statement, access)?;
        let done = self
            .perform(statement, access, RowLimits::default(), deadline)
            .await;
        done.map(|(count, _)| count)
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
        settings::check(statement, access)?;
        let done = self.perform(statement, access, limits, deadline).await;
        done.map(|(_, rows)| rows)
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
        Err(Error::invalid(
            "there are no transactions on MySQL and MariaDB: account statements commit by themselves; execute each statement for itself",
        ))
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
    pub fn close(self) -> Ending {
        Ending::Clean
    }

    /// What reads, in a transaction that only reads and is rolled back.
    async fn perform(
        &mut self,
        statement: &Statement,
        access: Access,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<(u64, Rows), Error> {
        let rendered = statement.render()?;
        let secret = statement.carries_secret();
        if access == Access::Write {
            self.run(&settings::deadlines(self.dialect, deadline), deadline)
                .await?;
            return self
                .ask(&rendered.sql, limits, secret, Effect::Maybe, deadline)
                .await;
        }
        self.run(&settings::deadlines(self.dialect, deadline), deadline)
            .await?;
        self.run("START TRANSACTION READ ONLY", deadline).await?;
        let read = self
            .ask(&rendered.sql, limits, secret, Effect::None, deadline)
            .await;
        if self.is_usable() {
            let left = self.run("ROLLBACK", deadline).await;
            self.broken |= left.is_err();
            left?;
        }
        read
    }

    /// A statement of the host's own.
    async fn run(&mut self, sql: &str, deadline: Deadline) -> Result<(), Error> {
        let done = self
            .ask(sql, RowLimits::default(), false, Effect::None, deadline)
            .await;
        done.map(|_| ())
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
                source: std::io::ErrorKind::NotConnected.into(),
            });
        }
        self.busy = true;
        let answered = deadline
            .run(WAITING, sent, ask(&mut self.packets, sql, limits))
            .await;
        self.busy = false;
        self.broken |= !matches!(&answered, Ok(Ok(_)))
            && !matches!(&answered, Ok(Err(trouble)) if trouble.leaves_session());
        answered?.map_err(|trouble: Trouble| trouble.typed(WAITING, secret, sent))
    }

    /// A server without its grant tables lets everybody in, as nobody; one with proxies, as somebody else.
    async fn check_account(&mut self, user: &str, deadline: Deadline) -> Result<(), Error> {
        let own = "SELECT CURRENT_USER()";
        let asked = self
            .ask(own, RowLimits::default(), false, Effect::None, deadline)
            .await;
        let account = match asked?
            .1
            .rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
        {
            Some(Value::Text(account)) => account,
            _ => String::new(),
        };
        if account.rsplit_once('@').is_some_and(|(name, _)| name == user) {
            return Ok(());
        }
        Err(Error::OtherAccount {
            user: user.to_owned(),
            account,
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
