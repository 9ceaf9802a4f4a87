use std::net::SocketAddr;

use keywheel_model::{Effect, SecretBytes};
use zeroize::Zeroizing;

use super::connect::{Wire, connect};
use super::failure::most_telling;
use super::login::wide;
use super::packet::{BATCH, Packets};
use super::reply::{Trouble, read};
use super::settings;
use crate::dial::Allow;
use crate::postgres::{Access, ConnectOptions, Ending, RowLimits, Rows};
use crate::statement::{Dialect, Statement, Value};
use crate::{Deadline, Error, Outbound};

/// A logged-in connection. Dropping it closes it.
pub struct Session {
    packets: Packets<Wire>,
    address: SocketAddr,
    /// An answer was lost or cut: nothing may be sent any more.
    broken: bool,
    /// Set while a call runs: if its future is dropped half-way, the session is of no more use.
    busy: bool,
}

impl Session {
    /// Dials, logs in, pins the settings. Without a database in the options it is the login's own.
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
        let (packets, address) = connect(outbound, rules, options, deadline).await?;
        let mut session = Self {
            packets,
            address,
            broken: false,
            busy: false,
        };
        session
            .ask(
                settings::PINS,
                RowLimits::default(),
                false,
                Effect::None,
                deadline,
            )
            .await?;
        if options.proof {
            session.check_account(&options.user, deadline).await?;
        }
        Ok(session)
    }

    /// The dialect of statements for it.
    pub fn dialect(&self) -> Dialect {
        Dialect::MsSql
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
            "there are no transactions on SQL Server here: execute each statement for itself",
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

    /// What reads does so in a transaction that is rolled back.
    async fn perform(
        &mut self,
        statement: &Statement,
        access: Access,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<(u64, Rows), Error> {
        let rendered = statement.render()?;
        let batch = settings::batch(&rendered.sql, access, deadline);
        let sent = match access {
            Access::Read => Effect::None,
            Access::Write => Effect::Maybe,
        };
        self.ask(&batch, limits, statement.carries_secret(), sent, deadline)
            .await
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
        let answered = deadline.run(WAITING, sent, self.exchange(sql, limits)).await;
        self.busy = false;
        self.broken |= !matches!(&answered, Ok(Ok(_)))
            && !matches!(&answered, Ok(Err(trouble)) if trouble.leaves_session());
        answered?.map_err(|trouble| trouble.typed(WAITING, secret, sent))
    }

    /// One batch and its answer. A transaction that is left open ends with the session.
    async fn exchange(&mut self, sql: &str, limits: RowLimits) -> Result<(u64, Rows), Trouble> {
        // Of no transaction, one request at a time.
        const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let text = wide(sql);
        let mut message = Zeroizing::new(Vec::with_capacity(HEADERS.len() + text.len()));
        message.extend(HEADERS);
        message.extend_from_slice(&text);
        self.packets.write(BATCH, &message).await?;
        let answer = read(&self.packets.read().await?, limits)?;
        self.broken |= answer.in_transaction;
        match most_telling(answer.errors) {
            Some(error) => Err(Trouble::Reported(error)),
            None => Ok((answer.count, answer.rows)),
        }
    }

    /// A server that lets somebody in as somebody else has looked at another password. A user of a database has no login: its own name is
    /// the user's. `name@server` is how Azure's clients say where they want to go.
    async fn check_account(&mut self, user: &str, deadline: Deadline) -> Result<(), Error> {
        let own = "SELECT SUSER_SNAME(), USER_NAME()";
        let asked = self
            .ask(own, RowLimits::default(), false, Effect::None, deadline)
            .await?;
        let names: Vec<String> = asked
            .1
            .rows
            .into_iter()
            .flatten()
            .filter_map(|value| match value {
                Value::Text(name) => Some(name.to_lowercase()),
                _ => None,
            })
            .collect();
        let wanted = user.to_lowercase();
        let is_own =
            |name: &String| *name == wanted || wanted.rsplit_once('@').is_some_and(|(own, _)| own == *name);
        if names.iter().any(is_own) {
            return Ok(());
        }
        Err(Error::OtherAccount {
            user: user.to_owned(),
            account: names.into_iter().next().unwrap_or_default(),
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
