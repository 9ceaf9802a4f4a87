mod takeover;
mod together;

use keywheel_model::{Effect, ErrorKind, SecretBytes};
use tokio::sync::oneshot;
use tokio_postgres::Client;

use super::connect::{Cancel, connect};
use super::meter::Allowance;
use super::rows::{RowLimits, Rows, borrowed, collect, parameters};
use super::{Access, ConnectOptions, Ending, failure, settings};
use crate::dial::{Allow, Dialer};
use crate::statement::{Dialect, Rendered, Statement};
use crate::{Deadline, Error, Outbound, SqlError};

/// What the server may send for one statement beside the rows that are kept: headers, notices, the rows that a limit cuts.
const ANSWER_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    No,
    Open,
    /// A statement in it failed: the server would answer a commit with a rollback, and call that a success.
    Failed,
}

/// A logged-in connection. Dropping it closes it; the server rolls back what is open.
pub struct Session {
    client: Client,
    transaction: Transaction,
    /// An answer was lost or cut: nothing may be sent any more.
    broken: bool,
    /// Set while a call runs: if its future is dropped half-way, the session is of no more use.
    busy: bool,
    allowance: Allowance,
    cancel: Cancel,
    backend: Option<u32>,
    _alive: oneshot::Sender<()>,
}

impl Session {
    /// Dials, logs in, pins the settings.
    ///
    /// # Errors
    /// As [`crate::dial::Dialer::dial`]; [`Error::PlaintextDenied`], the errors of a handshake, [`Error::Sql`] with kind `unauthenticated` for
    /// a refused login. All without effect.
    pub async fn open(
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let pins = settings::pins(&options.application_name, deadline)?;
        let allowance = Allowance::new(ANSWER_BYTES);
        let connected = connect(outbound, rules, options, allowance.clone(), deadline).await?;
        let (client, cancel, backend) = (connected.client, connected.cancel, connected.backend);
        let mut session = Self {
            client,
            transaction: Transaction::No,
            broken: false,
            busy: false,
            allowance,
            cancel,
            backend,
            _alive: connected.alive,
        };
        session.pin(&pins, false, deadline).await?;
        Ok(session)
    }

    /// The dialect of statements for it.
    pub fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    /// Whether `rules` would have opened what it is connected to, for `host`.
    ///
    /// # Errors
    /// As the dialer would refuse it.
    pub(super) fn recheck(&self, dialer: &Dialer, rules: &[Allow], host: &str) -> Result<(), Error> {
        self.cancel.place.recheck(dialer, rules, host)
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.transaction != Transaction::No
    }

    /// Whether it can be used further.
    pub fn is_usable(&self) -> bool {
        !self.busy && self.is_intact()
    }

    /// Runs a statement for its effect; the number of rows it touched.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::Sql`]; [`Error::Timeout`] and [`Error::Lost`], whose effect is `maybe` for a
    /// writing statement outside a transaction and `none` inside (nothing takes effect before the commit).
    pub async fn execute(
        &mut self,
        statement: &Statement,
        access: Access,
        deadline: Deadline,
    ) -> Result<u64, Error> {
        settings::check_verb(&statement.verb(), access)?;
        let rendered = statement.render()?;
        self.usable()?;
        self.busy = true;
        let done = match access {
            Access::Write => self.write(&rendered, statement.carries_secret(), deadline).await,
            Access::Read => self
                .read_only(&rendered, statement.carries_secret(), None, deadline)
                .await
                .map(|(count, _)| count),
        };
        self.busy = false;
        done
    }

    /// Runs a statement and gives back its rows. One with a secret is refused: it is execute-only (rule H6).
    ///
    /// # Errors
    /// As [`Session::execute`]. [`Error::Column`] for a type that has to be cast.
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
        settings::check_verb(&statement.verb(), access)?;
        let rendered = statement.render()?;
        self.usable()?;
        self.busy = true;
        let rows = match access {
            Access::Write => self.write_returning(&rendered, limits, deadline).await,
            Access::Read => self
                .read_only(&rendered, false, Some(limits), deadline)
                .await
                .map(|(_, rows)| rows),
        };
        self.busy = false;
        rows
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

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one is open.
    pub async fn begin(&mut self, deadline: Deadline) -> Result<(), Error> {
        if self.in_transaction() {
            return Err(Error::invalid("a transaction is open already"));
        }
        self.usable()?;
        self.busy = true;
        let begun = self
            .batch(
                &format!("BEGIN; {}", settings::deadlines(deadline)),
                "beginning a transaction",
                deadline,
            )
            .await;
        self.busy = false;
        if begun.is_ok() {
            self.transaction = Transaction::Open;
        }
        begun
    }

    /// Commits it. A transaction in which a statement failed is rolled back, and that is an error.
    ///
    /// # Errors
    /// [`Error::Sql`] when it was rolled back instead; [`Error::Timeout`] and [`Error::Lost`] with effect `maybe`.
    pub async fn commit(&mut self, deadline: Deadline) -> Result<(), Error> {
        if self.transaction == Transaction::Failed {
            self.rollback(deadline).await?;
            let message = Some("a statement of the transaction failed; it was rolled back".to_owned());
            return Err(Error::Sql(SqlError {
                sqlstate: "25P02".to_owned(),
                dialect: Dialect::Postgres,
                number: None,
                kind: ErrorKind::Conflict,
                effect: Effect::None,
                message,
            }));
        }
        self.end("COMMIT", Effect::Maybe, deadline).await
    }

    /// Rolls it back.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Lost`]: without effect, for the server rolls back a session that is gone.
    pub async fn rollback(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.end("ROLLBACK", Effect::None, deadline).await
    }

    /// Closes it, and says whether something was open.
    pub fn close(self) -> Ending {
        if self.in_transaction() {
            Ending::OpenTransaction
        } else {
            Ending::Clean
        }
    }

    /// Makes a session that was used before as good as new, and shows that it is alive.
    pub(super) async fn reset(&mut self, application_name: &str, deadline: Deadline) -> Result<(), Error> {
        if self.in_transaction() {
            return Err(Error::OpenTransaction);
        }
        self.usable()?;
        self.client.clear_type_cache();
        self.pin(&settings::pins(application_name, deadline)?, true, deadline)
            .await
    }

    /// One round trip: the server works them off in order.
    async fn pin(&mut self, pins: &str, used_before: bool, deadline: Deadline) -> Result<(), Error> {
        let client = &self.client;
        let backend = settings::backend(self.backend);
        let work = async {
            let discard = async {
                if used_before {
                    client.batch_execute("DISCARD ALL").await
                } else {
                    Ok(())
                }
            };
            // Servers on some platforms cannot watch their client, and what only speaks the protocol may know no settings but its own.
            let if_it_can = async |sql: &str| match client.batch_execute(sql).await {
                Err(error) if error.as_db_error().is_some() => Ok(()),
                done => done,
            };
            let (discarded, pinned, watching, told) = tokio::join!(
                discard,
                client.batch_execute(pins),
                if_it_can(settings::WATCH_CLIENT),
                if_it_can(&backend)
            );
            discarded.and(pinned).and(watching).and(told)
        };
        let done = deadline
            .run("pinning the session's settings", Effect::None, work)
            .await;
        self.settle(done, false, Effect::None)
    }

    async fn write(&mut self, rendered: &Rendered, secret: bool, deadline: Deadline) -> Result<u64, Error> {
        let effect = self.effect_of_write();
        let deadlines = settings::deadlines(deadline);
        let params = parameters(&rendered.params);
        let params = borrowed(&params);
        let client = &self.client;
        let work = async {
            let (_, done) = tokio::join!(
                client.batch_execute(&deadlines),
                client.execute_typed(&rendered.sql, &params)
            );
            done
        };
        let done = deadline
            .run("waiting for the server's answer", effect, work)
            .await;
        self.settle_in_transaction(done, secret, effect)
    }

    async fn write_returning(
        &mut self,
        rendered: &Rendered,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<Rows, Error> {
        let effect = self.effect_of_write();
        self.batch(
            &settings::deadlines(deadline),
            "setting the server's deadlines",
            deadline,
        )
        .await?;
        let read = deadline
            .run(
                "waiting for the server's rows",
                effect,
                collect(&self.client, rendered, limits),
            )
            .await;
        let collected = self.settle_in_transaction(read, false, effect)?;
        // The statement is done: what is wrong with a column comes too late to say that nothing happened.
        collected.map_err(|error| error.at_least(Effect::Applied))
    }

    /// In a read-only transaction that is rolled back; inside a transaction, in a savepoint.
    async fn read_only(
        &mut self,
        rendered: &Rendered,
        secret: bool,
        limits: Option<RowLimits>,
        deadline: Deadline,
    ) -> Result<(u64, Rows), Error> {
        let deadlines = settings::deadlines(deadline);
        let (enter, leave) = if self.in_transaction() {
            (
                format!("SAVEPOINT keywheel; {deadlines}; SET LOCAL transaction_read_only = on"),
                "ROLLBACK TO SAVEPOINT keywheel; RELEASE SAVEPOINT keywheel",
            )
        } else {
            (format!("BEGIN READ ONLY; {deadlines}"), "ROLLBACK")
        };
        // Awaited, never sent together with the statement: were it refused, the statement would run in the open.
        self.batch(&enter, "beginning to read", deadline).await?;
        let client = &self.client;
        let work = async {
            if let Some(limits) = limits {
                return Ok(collect(client, rendered, limits).await?.map(|rows| (0, rows)));
            }
            let params = parameters(&rendered.params);
            let count = client.execute_typed(&rendered.sql, &borrowed(&params)).await?;
            Ok(Ok((count, Rows::default())))
        };
        let read = deadline
            .run("waiting for the server's answer", Effect::None, work)
            .await;
        let read = self.settle(read, secret, Effect::None).flatten();
        if self.is_intact() {
            let left = self.batch(leave, "ending a read", deadline).await;
            self.broken |= left.is_err();
            left?;
        }
        read
    }

    async fn end(&mut self, sql: &str, effect: Effect, deadline: Deadline) -> Result<(), Error> {
        if !self.in_transaction() {
            return Err(Error::invalid("no transaction is open"));
        }
        self.usable()?;
        self.busy = true;
        let done = deadline
            .run(
                "ending a transaction",
                effect,
                self.client.execute_typed(sql, &[]),
            )
            .await;
        self.busy = false;
        if done.is_ok() {
            self.transaction = Transaction::No;
        }
        self.settle(done, false, effect).map(|_| ())
    }

    async fn batch(&mut self, sql: &str, doing: &'static str, deadline: Deadline) -> Result<(), Error> {
        let done = deadline
            .run(doing, Effect::None, self.client.batch_execute(sql))
            .await;
        self.settle(done, false, Effect::None)
    }

    /// Nothing takes effect before the commit.
    fn effect_of_write(&self) -> Effect {
        if self.in_transaction() {
            Effect::None
        } else {
            Effect::Maybe
        }
    }

    fn settle_in_transaction<T>(
        &mut self,
        done: Result<Result<T, tokio_postgres::Error>, Error>,
        secret: bool,
        effect: Effect,
    ) -> Result<T, Error> {
        if self.in_transaction() && !matches!(done, Ok(Ok(_))) {
            self.transaction = Transaction::Failed;
        }
        self.settle(done, secret, effect)
    }

    /// Marks the session after an answer that was lost, and types the error.
    fn settle<T>(
        &mut self,
        done: Result<Result<T, tokio_postgres::Error>, Error>,
        secret: bool,
        effect: Effect,
    ) -> Result<T, Error> {
        let spent = self.allowance.is_spent();
        self.broken |= spent;
        self.allowance.renew(if spent { 0 } else { ANSWER_BYTES });
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if error.as_db_error().is_some() => {
                self.broken |= failure::ends_session(&error);
                Err(failure::of_statement(error, secret, effect))
            }
            Ok(Err(_)) if spent => Err(Error::Limit {
                what: "the answer",
                limit: 16 << 20,
                effect,
            }),
            Ok(Err(error)) => {
                self.broken = true;
                Err(failure::of_statement(error, secret, effect))
            }
            Err(timeout) => {
                self.broken = true;
                self.cancel.clone().ask_in_background();
                Err(timeout)
            }
        }
    }

    fn is_intact(&self) -> bool {
        !self.broken && !self.client.is_closed()
    }

    fn usable(&self) -> Result<(), Error> {
        if self.is_usable() {
            return Ok(());
        }
        Err(Error::Lost {
            doing: "using a session that has ended",
            effect: Effect::None,
            source: std::io::ErrorKind::NotConnected.into(),
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("place", &self.cancel.place)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}
