use std::time::Duration;

use keywheel_manifest::{Call, Capability, SecretRole, ShapeEffect};
use keywheel_model::{Effect, VersionId};
use keywheel_policy::Transport;
use keywheel_target::postgres::{ConnectOptions, Security};
use keywheel_target::statement::Dialect;
use keywheel_target::{Deadline, Error as TargetError, SqlError, mssql, mysql, postgres};
use wasmtime::component::Resource;

use super::connection::{Connection, Later};
use super::link::{Driver, Link};
use super::takeover::{SessionFacts, security};
use crate::bindings::keywheel::sql::sql;
use crate::error::Error;
use crate::guard::{Begun, Ended, Peer, Permitted};
use crate::handle::Handle;
use crate::identities::Identity;
use crate::net::Destined;
use crate::report::LoginResult;
use crate::state::HostState;

/// The longest name of a host, a database, a user or a trust set.
const NAME_BYTES: usize = 255;

/// A connection that is being described. Nothing is checked before `open`: the functions of the contract cannot fail.
#[derive(Default)]
pub struct Connector {
    driver: String,
    host: Option<(String, u16)>,
    database: Option<String>,
    user: Option<String>,
    password: Option<Handle>,
    plaintext: bool,
    /// TDS 8.0: TLS before everything else.
    strict: bool,
    trust: Option<String>,
    timeout: Option<Duration>,
    /// The first thing that was asked for and is not to be had.
    wrong: Option<(&'static str, String)>,
}

impl Connector {
    fn wrong(&mut self, code: &'static str, message: impl Into<String>) {
        self.wrong.get_or_insert_with(|| (code, message.into()));
    }
}

/// A connector whose parts are all there.
struct Described {
    driver: Driver,
    peer: Peer,
    database: String,
    user: String,
    password: Option<Handle>,
    strict: bool,
    trust: Option<String>,
}

impl Described {
    fn of(connector: Connector) -> Result<(Self, Option<Duration>), Error> {
        let Connector {
            driver,
            host,
            database,
            user,
            password,
            plaintext,
            strict,
            trust,
            timeout,
            wrong,
        } = connector;
        let Some(driver) = Driver::of(&driver) else {
            let shown: String = driver.chars().take(32).collect();
            return Err(Error::invalid(
                "sql.driver",
                format!(
                    "the host has no driver `{}`; it has `postgres`, `mysql` and `mssql`",
                    shown.escape_debug()
                ),
            ));
        };
        if strict && (driver != Driver::MsSql || plaintext) {
            let message = "`encrypt` is an option of the driver `mssql`, and of connections with TLS";
            return Err(Error::invalid("sql.option", message));
        }
        if let Some((code, message)) = wrong {
            return Err(Error::invalid(code, message));
        }
        let Some((host, port)) = host else {
            return Err(Error::invalid("sql.connector", "the connector has no host"));
        };
        let Some(user) = user else {
            return Err(Error::invalid("sql.connector", "the connector has no user"));
        };
        for name in [&host, &user].into_iter().chain(&database).chain(&trust) {
            if name.is_empty() || name.len() > NAME_BYTES || name.contains(char::is_control) {
                return Err(Error::invalid(
                    "sql.connector",
                    format!("a name is empty, holds control characters, or has more than {NAME_BYTES} bytes"),
                ));
            }
        }
        let transport = Transport::to(&host, plaintext);
        if transport == Transport::Socket && driver != Driver::Postgres {
            let message =
                "only the driver `postgres` goes over a Unix socket; give the name or the address of a host";
            return Err(Error::invalid("sql.connector", message));
        }
        let database = database.unwrap_or_else(|| driver.default_database(&user));
        Ok((
            Self {
                driver,
                peer: Peer {
                    host,
                    port,
                    transport,
                },
                database,
                user,
                password,
                strict,
                trust,
            },
            timeout,
        ))
    }

    fn options(&self, application_name: String) -> ConnectOptions {
        let password = self
            .password
            .as_ref()
            .map(|password| password.value().duplicate());
        let mut options = ConnectOptions::new(
            &self.peer.host,
            self.peer.port,
            &self.database,
            &self.user,
            password,
        );
        options.application_name = application_name;
        options.security = security(&self.peer, self.trust.clone());
        if let (Security::Tls(tls), true) = (&mut options.security, self.strict) {
            tls.alpn = vec![mssql::STRICT.to_vec()];
        }
        options
    }

    /// What a takeover needs to end the session. None: it logged in with no input, and nobody else's login is sure to be able to; or the
    /// server shows no name of a session, and its deadline is waited for.
    fn session_facts(&self, permitted: &Permitted) -> Option<SessionFacts> {
        if self.driver != Driver::Postgres {
            return None;
        }
        let mut roles = permitted.secrets.iter().flat_map(|used| &used.roles);
        let input = roles.find_map(|role| match role {
            SecretRole::Input(name) => Some(name.clone()),
            _ => None,
        })?;
        Some(SessionFacts {
            host: self.peer.host.clone(),
            port: self.peer.port,
            plaintext: self.peer.transport == Transport::Plaintext,
            trust: self.trust.clone(),
            database: self.database.clone(),
            user: self.user.clone(),
            input,
            names: Vec::new(),
        })
    }

    /// The version by which its sessions are pooled. None: a fresh login, as the proof of `test` always is, and everything
    /// with a version of the rotated secret. Of PostgreSQL alone: a login costs less on the others.
    fn pooled_as(&self, permitted: &Permitted) -> Option<VersionId> {
        let only_inputs = |permitted: &Permitted| {
            let mut roles = permitted.secrets.iter().flat_map(|used| &used.roles);
            roles.all(|role| matches!(role, SecretRole::Input(_)))
                && permitted.secrets.iter().all(|used| !used.roles.is_empty())
        };
        let stored = self.password.as_ref()?.stored_at()?;
        (self.driver == Driver::Postgres && permitted.effect == ShapeEffect::None && only_inputs(permitted))
            .then(|| stored.version.parse().ok())
            .flatten()
    }
}

impl HostState {
    /// The step's time as the target crate counts it, but for a rest in which the plugin can still say what did not answer.
    pub(crate) fn deadline(&self) -> Deadline {
        const REST_MAX: Duration = Duration::from_millis(500);
        let remaining = self.remaining();
        Deadline::after(remaining.saturating_sub((remaining / 10).min(REST_MAX)))
    }

    async fn open_connection(&mut self, connector: Connector) -> Result<Connection, Error> {
        self.permit_package(Capability::Sql).await?;
        let (described, timeout) = Described::of(connector)?;
        for name in [&described.user, &described.database]
            .into_iter()
            .chain(&described.trust)
        {
            self.clear_text(name, "a name in a connection")?;
        }
        let deadline = timeout.map_or(self.deadline(), |timeout| self.deadline().within(timeout));
        let destination = self.permit_destination(&described.peer).await?;
        let destined = Destined::new(&described.peer, destination, &self.sql.outbound)?;
        let mut options = described.options(super::application_name(&self.step.run));
        let Some(password) = &described.password else {
            return match open(described.driver, &destined, &options, deadline).await {
                Ok(link) => Ok(Connection::new(link, described.peer, None)),
                Err(error) => Err(self.cannot_open(&described.peer, error).await),
            };
        };
        let call = Call::Login {
            driver: described.driver.as_str().to_owned(),
            user: described.user.clone(),
            password: self.secret_use(password),
        };
        let permitted = self
            .permit(&call, std::slice::from_ref(password), &described.peer, true)
            .await?;
        let (pooled_as, facts) = (
            described.pooled_as(&permitted),
            described.session_facts(&permitted),
        );
        // An administrator works as well where nobody asks for its password.
        options.proof = permitted.effect == ShapeEffect::Login;
        let begun = self.begin(permitted, &described.peer).await?;
        if let Some(opening) = self.can_share(&destined, &options, pooled_as.as_ref()) {
            self.conclude_login(begun, None).await?;
            let later = Later { opening, timeout };
            return Ok(Connection::later(later, described.peer, facts));
        }
        let opened = match pooled_as {
            Some(version) => {
                let pool = self.sql.pool.clone();
                pool.checkout(&destined.outbound, &destined.rules, &options, &version, deadline)
                    .await
                    .map(|session| Link::Lent(Box::new(session)))
            }
            None => open(described.driver, &destined, &options, deadline).await,
        };
        self.conclude_login(begun, opened.as_ref().err()).await?;
        match opened {
            Ok(link) => Ok(Connection::new(link, described.peer, facts)),
            Err(error) => Err(self.cannot_open(&described.peer, error).await),
        }
    }

    async fn conclude_login(&mut self, begun: Begun, error: Option<&TargetError>) -> Result<(), Error> {
        let login = Some(error.map_or(LoginResult::Accepted, login_result));
        let code = error.map(|error| error.code().into_owned());
        // A login changes nothing but the target's count of failed ones.
        self.conclude(
            begun,
            Ended {
                effect: Effect::None,
                login,
                code,
            },
        )
        .await
    }
}

/// A session of this call alone.
async fn open(
    driver: Driver,
    destined: &Destined,
    options: &ConnectOptions,
    deadline: Deadline,
) -> Result<Link, TargetError> {
    let Destined { outbound, rules, .. } = destined;
    match driver {
        Driver::Postgres => {
            let session = postgres::Session::open(outbound, rules, options, deadline).await?;
            Ok(Link::Own(Box::new(session)))
        }
        Driver::MySql => {
            let session = mysql::Session::open(outbound, rules, options, deadline).await?;
            Ok(Link::MySql(Box::new(session)))
        }
        Driver::MsSql => {
            let session = mssql::Session::open(outbound, rules, options, deadline).await?;
            Ok(Link::MsSql(Box::new(session)))
        }
    }
}

/// What a refusal says of the credential. A server that answers anything else has not judged it.
fn login_result(error: &TargetError) -> LoginResult {
    match error {
        error if error.is_before_login() => LoginResult::Unsent,
        TargetError::Sql(SqlError {
            dialect: Dialect::MsSql,
            number: Some(number),
            ..
        }) => match number {
            18456 => LoginResult::Rejected,
            // No right to the database, or there is none: looked at after the password.
            916 | 4060 | 4064 => LoginResult::Limited,
            // By Windows alone; disabled; locked; expired; must change; not from this address; not at this server.
            18452 | 18470 | 18486..=18488 | 40532 | 40615 | 40914 => LoginResult::Account,
            _ => LoginResult::Unknown,
        },
        TargetError::Sql(SqlError {
            number: Some(number), ..
        }) => match number {
            1045 => LoginResult::Rejected,
            // No right to the database, which is looked at after the password.
            1044 => LoginResult::Limited,
            // Not from this host; no password at all; expired; must change; locked; shut out for a time.
            1130 | 1698 | 1820 | 1862 | 3118 | 3955 | 4150 | 4151 => LoginResult::Account,
            _ => LoginResult::Unknown,
        },
        TargetError::Sql(error) if error.sqlstate == "28P01" => LoginResult::Rejected,
        // The role may not log in, or no line of pg_hba.conf lets it: the password may be right.
        TargetError::Sql(error) if error.sqlstate == "28000" => LoginResult::Account,
        // The server looks at the right to connect after the password; where it asked for none, this is another error.
        TargetError::Sql(error) if error.sqlstate == "42501" => LoginResult::Limited,
        _ => LoginResult::Unknown,
    }
}

impl sql::HostConnector for HostState {
    async fn new(&mut self, driver: String) -> wasmtime::Result<Resource<Connector>> {
        Ok(self.table.push(Connector {
            driver,
            ..Connector::default()
        })?)
    }

    async fn host(
        &mut self,
        connector: Resource<Connector>,
        host: String,
        port: u16,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.host = Some((host, port));
        Ok(())
    }

    async fn database(&mut self, connector: Resource<Connector>, name: String) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.database = Some(name);
        Ok(())
    }

    async fn user(&mut self, connector: Resource<Connector>, name: String) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.user = Some(name);
        Ok(())
    }

    async fn password(
        &mut self,
        connector: Resource<Connector>,
        password: Resource<Handle>,
    ) -> wasmtime::Result<()> {
        let password = self.table.get(&password)?.clone();
        self.table.get_mut(&connector)?.password = Some(password);
        Ok(())
    }

    async fn connection_string(
        &mut self,
        connector: Resource<Connector>,
        _value: Resource<Handle>,
    ) -> wasmtime::Result<()> {
        let connector = self.table.get_mut(&connector)?;
        connector.wrong("host.not-offered", "`connection-string` is not offered by this host yet; give host, database, user and password one by one");
        Ok(())
    }

    async fn client_identity(
        &mut self,
        connector: Resource<Connector>,
        _identity: Resource<Identity>,
    ) -> wasmtime::Result<()> {
        let connector = self.table.get_mut(&connector)?;
        connector.wrong(
            "host.not-offered",
            "`client-identity` is not offered by this host yet; log in with a password",
        );
        Ok(())
    }

    async fn plaintext(&mut self, connector: Resource<Connector>) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.plaintext = true;
        Ok(())
    }

    async fn trust(&mut self, connector: Resource<Connector>, name: String) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.trust = Some(name);
        Ok(())
    }

    async fn set_option(
        &mut self,
        connector: Resource<Connector>,
        name: String,
        value: String,
    ) -> wasmtime::Result<()> {
        if (name.as_str(), value.as_str()) == ("encrypt", "strict") {
            self.table.get_mut(&connector)?.strict = true;
            return Ok(());
        }
        let shown: String = name.chars().take(32).collect();
        let message = format!(
            "`{}` is no option: the host sets the session's name and settings itself",
            shown.escape_debug()
        );
        self.table.get_mut(&connector)?.wrong("sql.option", message);
        Ok(())
    }

    async fn timeout(&mut self, connector: Resource<Connector>, timeout: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&connector)?.timeout = Some(Duration::from_millis(timeout.into()));
        Ok(())
    }

    async fn open(&mut self, connector: Resource<Connector>) -> Result<Resource<Connection>, Error> {
        let connector = self.table.delete(connector)?;
        let connection = self.open_connection(connector).await?;
        Ok(self.table.push(connection)?)
    }

    async fn drop(&mut self, connector: Resource<Connector>) -> wasmtime::Result<()> {
        self.table.delete(connector)?;
        Ok(())
    }
}
