use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use keywheel_model::{Effect, SecretBytes};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTls};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::meter::{Allowance, Metered};
use super::rows::{self, RowLimits, Rows};
use super::{ConnectOptions, Security, failure};
use crate::dial::Allow;
use crate::statement::{Dialect, Statement, Value};
use crate::tls::Verify;
use crate::{Deadline, Error, Outbound};

/// What the server may send for one statement beside the rows that are kept: headers, notices, the rows that a limit cuts.
const ANSWER_BYTES: u64 = 16 << 20;

/// How long a request to cancel, or a goodbye, may take after the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// Whether a statement may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It runs in a read-only transaction that is rolled back: settings it changes are rolled back with it.
    Read,
    /// A shape allows it.
    Write,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Ending {
    /// Nothing was open.
    Clean,
    /// A transaction was open; the server rolls it back. A failure of the step (rule H13).
    OpenTransaction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    InTransaction,
    /// An answer was lost or cut: nothing may be sent any more.
    Broken,
}

/// A logged-in connection. Dropping it closes it; the server rolls back what is open.
pub struct Session {
    client: Client,
    state: State,
    allowance: Allowance,
    cancel: Cancel,
    application_name: String,
    /// Dropped with the session: tells the connection's task to come to its end.
    _alive: oneshot::Sender<()>,
}

/// What it takes to ask the server to stop: a second connection to the very same address.
#[derive(Clone)]
struct Cancel {
    token: CancelToken,
    address: SocketAddr,
    tls: Option<(MakeRustlsConnect, String)>,
}

impl Session {
    /// Dials, logs in, pins the settings.
    ///
    /// # Errors
    /// As [`crate::dial::Dialer::dial`]; [`Error::PlaintextDenied`], the errors of a handshake, [`Error::Sql`] with kind `unauthenticated` for
    /// a refused login. All without effect.
    pub async fn open(outbound: &Outbound, rules: &[Allow], options: &ConnectOptions, deadline: Deadline) -> Result<Self, Error> {
        check_application_name(&options.application_name)?;
        let dialled = outbound.dialer.dial(rules, &options.host, options.port, deadline).await?;
        let tls = match &options.security {
            Security::Tls(tls) if tls.verify == Verify::InspectOnly => return Err(Error::UnsafeStream { why: "a server whose certificate is not checked" }),
            Security::Tls(tls) => Some((MakeRustlsConnect::new(tls.client_config(&outbound.trust)?), tls.server_name.clone())),
            Security::Plaintext if !dialled.plaintext_allowed => return Err(Error::PlaintextDenied { host: dialled.host, port: options.port }),
            Security::Plaintext => None,
        };
        let allowance = Allowance::new(ANSWER_BYTES);
        let stream = Metered::new(dialled.stream, allowance.clone());
        let (client, alive) = deadline.run("logging in", Effect::None, log_in(stream, options, tls.clone())).await??;
        let cancel = Cancel { token: client.cancel_token(), address: dialled.address, tls };
        let application_name = options.application_name.clone();
        let mut session = Self { client, state: State::Idle, allowance, cancel, application_name, _alive: alive };
        session.pin(deadline).await?;
        Ok(session)
    }

    /// The dialect of statements for it.
    pub fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    /// The address it is connected to.
    pub fn address(&self) -> SocketAddr {
        self.cancel.address
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.state == State::InTransaction
    }

    /// Whether it can be used further.
    pub fn is_usable(&self) -> bool {
        self.state != State::Broken && !self.client.is_closed()
    }

    /// Runs a statement for its effect; the number of rows it touched.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::Sql`]; [`Error::Timeout`] and [`Error::Lost`], whose effect is `maybe` for a
    /// writing statement outside a transaction and `none` inside (nothing takes effect before the commit).
    pub async fn execute(&mut self, statement: &Statement, access: Access, deadline: Deadline) -> Result<u64, Error> {
        self.check(statement, access)?;
        let rendered = statement.render()?;
        let secret = statement.carries_secret();
        let effect = if access == Access::Write && self.state == State::Idle { Effect::Maybe } else { Effect::None };
        if access == Access::Read {
            self.enter_read_only(deadline).await?;
        }
        let pins = server_deadlines(deadline);
        let params = parameters(&rendered.params);
        let params: Vec<(&(dyn ToSql + Sync), Type)> = params.iter().map(|(value, kind)| (&**value as _, kind.clone())).collect();
        let client = &self.client;
        let work = async {
            if access == Access::Read {
                return client.execute_typed(&rendered.sql, &params).await;
            }
            // One round trip: the server works them off in order.
            let (_, done) = tokio::join!(client.batch_execute(&pins), client.execute_typed(&rendered.sql, &params));
            done
        };
        let done = deadline.run("waiting for the server's answer", effect, work).await;
        let done = self.settle(done, secret, effect);
        if access == Access::Read {
            self.leave_read_only(deadline).await?;
        }
        done
    }

    /// Runs a reading statement and gives back its rows. A statement with a secret is refused: it is execute-only (rule H6).
    ///
    /// # Errors
    /// As [`Session::execute`], always without effect for [`Access::Read`].
    pub async fn query(&mut self, statement: &Statement, access: Access, limits: RowLimits, deadline: Deadline) -> Result<Rows, Error> {
        if statement.carries_secret() {
            return Err(Error::invalid("a statement with a secret gives no rows back; execute it"));
        }
        self.check(statement, access)?;
        let rendered = statement.render()?;
        let effect = if access == Access::Write && self.state == State::Idle { Effect::Maybe } else { Effect::None };
        if access == Access::Read {
            self.enter_read_only(deadline).await?;
        } else {
            self.batch(&server_deadlines(deadline), "setting the server's deadlines", deadline).await?;
        }
        let read = deadline.run("waiting for the server's rows", effect, self.collect(&rendered.sql, &rendered.params, limits)).await;
        let rows = match read {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(Failed::Driver(error))) => self.settle(Ok(Err(error)), false, effect),
            Ok(Err(Failed::Ours(error))) => Err(error.at_least(effect)),
            Err(timeout) => self.settle(Err(timeout), false, effect),
        };
        if access == Access::Read && self.is_usable() {
            self.leave_read_only(deadline).await?;
        }
        rows
    }

    /// One value of a one-row answer as a secret.
    ///
    /// # Errors
    /// As [`Session::query`]; [`Error::Invalid`] when there is not exactly one row, no such column, or it is not text or bytes.
    pub async fn capture(&mut self, statement: &Statement, column: &str, access: Access, deadline: Deadline) -> Result<SecretBytes, Error> {
        let seen = if access == Access::Write { Effect::Applied } else { Effect::None };
        let rows = self.query(statement, access, RowLimits { rows: 2, ..RowLimits::default() }, deadline).await?;
        let at = rows.columns.iter().position(|name| name == column);
        match (at, <[Vec<Value>; 1]>::try_from(rows.rows)) {
            (Some(at), Ok([row])) => match row.into_iter().nth(at) {
                Some(Value::Text(text)) => Ok(SecretBytes::new(text.into_bytes())),
                Some(Value::Bytes(bytes)) => Ok(SecretBytes::new(bytes)),
                _ => Err(Error::Protocol { expected: "a value of text or bytes", effect: seen }),
            },
            _ => Err(Error::Protocol { expected: "one row with that column", effect: seen }),
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one is open.
    pub async fn begin(&mut self, deadline: Deadline) -> Result<(), Error> {
        if self.state == State::InTransaction {
            return Err(Error::invalid("a transaction is open already"));
        }
        self.usable()?;
        self.batch(&format!("BEGIN; {}", server_deadlines(deadline)), "beginning a transaction", deadline).await?;
        self.state = State::InTransaction;
        Ok(())
    }

    /// Commits it.
    ///
    /// # Errors
    /// [`Error::Sql`] when the server rolled back instead; [`Error::Timeout`] and [`Error::Lost`] with effect `maybe`.
    pub async fn commit(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.end(deadline, "COMMIT", Effect::Maybe).await
    }

    /// Rolls it back.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Lost`]: without effect, for the server rolls back a session that is gone.
    pub async fn rollback(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.end(deadline, "ROLLBACK", Effect::None).await
    }

    /// Ends the other sessions that carry an application name (those of a dead host, before its run is taken over: rule P1), and waits
    /// until they are gone. How many there were.
    ///
    /// # Errors
    /// [`Error::Sql`] when the role may not; [`Error::Timeout`] when one of them does not end.
    pub async fn end_sessions(&mut self, application_name: &str, deadline: Deadline) -> Result<u64, Error> {
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()";
        check_application_name(application_name)?;
        self.usable()?;
        let mut ended = None;
        loop {
            let params: [(&(dyn ToSql + Sync), Type); 1] = [(&application_name, Type::TEXT)];
            let work = self.client.query_typed(END, &params);
            let found = deadline.run("ending old sessions", Effect::Maybe, work).await;
            let found = self.settle(found, false, Effect::Maybe)?.len() as u64;
            ended = ended.or(Some(found));
            if found == 0 {
                return Ok(ended.unwrap_or(0));
            }
            deadline.run("ending old sessions", Effect::Maybe, tokio::time::sleep(Duration::from_millis(20))).await?;
        }
    }

    /// Closes it, and says whether something was open.
    pub fn close(self) -> Ending {
        if self.in_transaction() { Ending::OpenTransaction } else { Ending::Clean }
    }

    /// Makes a session that was used before as good as new, and shows that it is alive.
    pub(super) async fn reset(&mut self, application_name: &str, deadline: Deadline) -> Result<(), Error> {
        check_application_name(application_name)?;
        if self.state != State::Idle || self.client.is_closed() {
            return Err(Error::OpenTransaction);
        }
        application_name.clone_into(&mut self.application_name);
        self.allowance.renew(ANSWER_BYTES);
        let client = &self.client;
        let settings = self.settings(deadline);
        let work = async {
            let (discarded, set) = tokio::join!(client.batch_execute("DISCARD ALL"), client.batch_execute(&settings));
            discarded.and(set)
        };
        let done = deadline.run("resetting a session", Effect::None, work).await;
        self.client.clear_type_cache();
        self.settle(done, false, Effect::None)
    }

    async fn pin(&mut self, deadline: Deadline) -> Result<(), Error> {
        let settings = self.settings(deadline);
        self.batch(&settings, "pinning the session's settings", deadline).await
    }

    fn settings(&self, deadline: Deadline) -> String {
        // PostgreSQL 14 and later know client_connection_check_interval, and only where the platform can: it is set if it is there.
        format!(
            "SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; SET search_path = pg_catalog, pg_temp; \
             SET application_name = '{}'; SET idle_in_transaction_session_timeout = {}; {}; \
             SELECT set_config('client_connection_check_interval', '1000', false) WHERE current_setting('client_connection_check_interval', true) IS NOT NULL",
            self.application_name,
            server_ms(deadline),
            server_deadlines(deadline),
        )
    }

    fn check(&self, statement: &Statement, access: Access) -> Result<(), Error> {
        const READING: [&str; 5] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW"];
        const HOSTS: [&str; 20] = [
            "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "SET", "RESET", "DISCARD", "PREPARE", "EXECUTE", "DEALLOCATE", "COPY",
            "LISTEN", "UNLISTEN", "DECLARE", "FETCH", "LOAD",
        ];
        self.usable()?;
        let verb = statement.verb();
        if verb.is_empty() {
            return Err(Error::invalid("a statement begins with SQL text, and that with a word"));
        }
        if access == Access::Read && !READING.contains(&verb.as_str()) {
            return Err(Error::invalid("a statement that no shape lets write begins with SELECT, WITH, VALUES, TABLE or SHOW"));
        }
        if HOSTS.contains(&verb.as_str()) {
            return Err(Error::invalid("transactions, settings and prepared statements are the host's"));
        }
        Ok(())
    }

    fn usable(&self) -> Result<(), Error> {
        if self.is_usable() {
            return Ok(());
        }
        Err(Error::Lost { doing: "using a session that has ended", effect: Effect::None, source: std::io::ErrorKind::NotConnected.into() })
    }

    /// The server's deadlines and the read-only state begin before the statement is sent, never beside it.
    async fn enter_read_only(&mut self, deadline: Deadline) -> Result<(), Error> {
        let deadlines = server_deadlines(deadline);
        let sql = match self.state {
            State::InTransaction => format!("SAVEPOINT keywheel; {deadlines}; SET LOCAL transaction_read_only = on"),
            _ => format!("BEGIN READ ONLY; {deadlines}"),
        };
        self.batch(&sql, "beginning to read", deadline).await
    }

    async fn leave_read_only(&mut self, deadline: Deadline) -> Result<(), Error> {
        if !self.is_usable() {
            return Ok(());
        }
        let sql = match self.state {
            State::InTransaction => "ROLLBACK TO SAVEPOINT keywheel; RELEASE SAVEPOINT keywheel",
            _ => "ROLLBACK",
        };
        let left = self.batch(sql, "ending a read", deadline).await;
        if left.is_err() {
            self.state = State::Broken;
        }
        left
    }

    async fn end(&mut self, deadline: Deadline, sql: &str, effect: Effect) -> Result<(), Error> {
        if self.state != State::InTransaction {
            return Err(Error::invalid("no transaction is open"));
        }
        self.usable()?;
        let done = deadline.run("ending a transaction", effect, self.client.execute_typed(sql, &[])).await;
        if !matches!(done, Err(_)) {
            self.state = State::Idle;
        }
        self.settle(done, false, effect).map(|_| ())
    }

    async fn batch(&mut self, sql: &str, doing: &'static str, deadline: Deadline) -> Result<(), Error> {
        let done = deadline.run(doing, Effect::None, self.client.batch_execute(sql)).await;
        self.settle(done, false, Effect::None)
    }

    async fn collect(&self, sql: &str, params: &[Value], limits: RowLimits) -> Result<Rows, Failed> {
        self.allowance.renew(ANSWER_BYTES);
        let stream = self.client.query_typed_raw(sql, parameters(params).iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))).await?;
        let mut stream = pin!(stream);
        let mut found = Rows::default();
        let mut bytes = 0;
        while let Some(row) = stream.try_next().await? {
            if found.columns.is_empty() {
                found.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
            }
            let (values, size) = rows::read(&row).map_err(Failed::Ours)?;
            bytes += size;
            if found.rows.len() >= limits.rows || bytes > limits.bytes {
                found.truncated = true;
                self.cancel.clone().ask_in_background();
                // The rest is read and thrown away until the server has stopped; its error about that is ours.
                while let Ok(Some(_)) = stream.try_next().await {}
                break;
            }
            found.rows.push(values);
        }
        Ok(found)
    }

    /// Marks the session after an answer that was lost, and types the error.
    fn settle<T>(&mut self, done: Result<Result<T, tokio_postgres::Error>, Error>, secret: bool, effect: Effect) -> Result<T, Error> {
        match done {
            Ok(Ok(value)) => {
                self.allowance.renew(ANSWER_BYTES);
                Ok(value)
            }
            Ok(Err(error)) => {
                if error.as_db_error().is_none() {
                    self.state = State::Broken;
                }
                if self.allowance.is_spent() {
                    return Err(Error::Limit { what: "the answer's size", limit: usize::try_from(ANSWER_BYTES).unwrap_or(usize::MAX), effect });
                }
                Err(failure::of_statement(error, secret, effect))
            }
            Err(timeout) => {
                self.state = State::Broken;
                self.cancel.clone().ask_in_background();
                Err(timeout)
            }
        }
    }
}

enum Failed {
    Driver(tokio_postgres::Error),
    Ours(Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.cancel.address).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Cancel {
    /// The deadline has passed: nobody waits for this, and the server's own deadline holds without it.
    fn ask_in_background(self) {
        tokio::spawn(async move {
            if let Err(error) = tokio::time::timeout(GRACE, self.ask()).await {
                tracing::debug!(%error, "a request to cancel was not taken");
            }
        });
    }

    async fn ask(self) -> std::io::Result<()> {
        let stream = Metered::new(TcpStream::connect(self.address).await?, Allowance::new(ANSWER_BYTES));
        let asked = match self.tls {
            Some((mut tls, name)) => {
                let Ok(tls) = MakeTlsConnect::<Metered<TcpStream>>::make_tls_connect(&mut tls, &name);
                self.token.cancel_query_raw(stream, tls).await
            }
            None => self.token.cancel_query_raw(stream, NoTls).await,
        };
        asked.map_err(std::io::Error::other)
    }
}

async fn log_in(stream: Metered<TcpStream>, options: &ConnectOptions, tls: Option<(MakeRustlsConnect, String)>) -> Result<(Client, oneshot::Sender<()>), Error> {
    let mut config = Config::new();
    config.user(&options.user).dbname(&options.database).application_name(&options.application_name);
    if let Some(password) = &options.password {
        config.password(password.expose());
    }
    let failed = |error| failure::of_login(&options.host, error);
    let (alive, gone) = oneshot::channel();
    match tls {
        Some((mut tls, name)) => {
            config.ssl_mode(SslMode::Require);
            let Ok(tls) = MakeTlsConnect::<Metered<TcpStream>>::make_tls_connect(&mut tls, &name);
            let (client, connection) = config.connect_raw(stream, tls).await.map_err(failed)?;
            tokio::spawn(drive(connection, gone));
            Ok((client, alive))
        }
        None => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(failed)?;
            tokio::spawn(drive(connection, gone));
            Ok((client, alive))
        }
    }
}

/// Runs the connection until it ends by itself; once the session is gone, no longer than the grace.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>, gone: oneshot::Receiver<()>) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = gone => tokio::time::timeout(GRACE, connection).await.ok(),
    };
    if let Some(Err(error)) = ended {
        let shown = error.as_db_error().map_or_else(|| error.to_string(), |reported| format!("SQLSTATE {}", reported.code().code()));
        tracing::debug!(error = shown, "a connection ended");
    }
}

fn check_application_name(name: &str) -> Result<(), Error> {
    let good = (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._:/-".contains(&b));
    if good { Ok(()) } else { Err(Error::invalid("an application name is 1 to 63 of a-z A-Z 0-9 . _ : / - and spaces")) }
}

/// When the server has to give up, in milliseconds from now: before we do, so that its answer still reaches us.
fn server_ms(deadline: Deadline) -> u128 {
    let left = deadline.remaining();
    let margin = (left / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
    left.saturating_sub(margin).as_millis().clamp(1, 2_000_000_000)
}

/// A wait for a lock ends at half of it: then the statement can still be answered.
fn server_deadlines(deadline: Deadline) -> String {
    let statement = server_ms(deadline);
    format!("SET statement_timeout = {statement}; SET lock_timeout = {}", (statement / 2).max(1))
}

fn parameters(values: &[Value]) -> Vec<(Box<dyn ToSql + Sync + Send + '_>, Type)> {
    values
        .iter()
        .map(|value| -> (Box<dyn ToSql + Sync + Send + '_>, Type) {
            match value {
                Value::Null => (Box::new(None::<&str>), Type::TEXT),
                Value::Bool(value) => (Box::new(value), Type::BOOL),
                Value::Int(value) => (Box::new(value), Type::INT8),
                Value::Float(value) => (Box::new(value), Type::FLOAT8),
                Value::Text(value) => (Box::new(value), Type::TEXT),
                Value::Bytes(value) => (Box::new(value), Type::BYTEA),
            }
        })
        .collect()
}
