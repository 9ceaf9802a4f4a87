use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTls};
use tokio_postgres::{CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::asked::{Asked, Head, Watched, Watching};
use super::meter::{Allowance, Metered};
use super::wire::{Place, Wire, dial};
use super::{ConnectOptions, failure};
use crate::dial::Allow;
use crate::{Deadline, Error, Outbound};

/// How long a request to cancel, or a goodbye, may take after the deadline.
const GRACE: Duration = Duration::from_secs(2);

/// One that speaks before its client does so by then.
const SPEAKS_WITHIN: Duration = Duration::from_secs(2);

/// A logged-in connection, before its settings are pinned.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) cancel: Cancel,
    /// The process that the server says serves it.
    pub(super) backend: Option<u32>,
    /// Dropped with the session: tells the connection's task to come to its end.
    pub(super) alive: oneshot::Sender<()>,
}

/// What it takes to ask the server to stop: a second connection to the very same address.
#[derive(Clone)]
pub(super) struct Cancel {
    pub(super) token: CancelToken,
    pub(super) place: Place,
    pub(super) tls: Option<(MakeRustlsConnect, String)>,
}

/// Dials and logs in.
pub(super) async fn connect(
    outbound: &Outbound,
    rules: &[Allow],
    options: &ConnectOptions,
    allowance: Allowance,
    deadline: Deadline,
) -> Result<Connected, Error> {
    let (stream, place, tls) = dial(outbound, rules, options, deadline).await?;
    let tls = match tls {
        Some(tls) => Some((
            MakeRustlsConnect::new(tls.client_config(&outbound.trust)?),
            tls.server_name,
        )),
        None => None,
    };
    let stream = Metered::new(stream, allowance);
    let asked = Asked::default();
    let logging_in = deadline.run(
        "logging in",
        keywheel_model::Effect::None,
        log_in(stream, options, tls.clone(), &asked),
    );
    let (client, alive) = match logging_in.await? {
        // Whatever it said first was taken for its answer.
        Err(Error::TlsMissing { name }) if place.speaks_first(SPEAKS_WITHIN).await => {
            return Err(Error::OtherServer {
                name,
                wanted: "PostgreSQL",
                does: "speaks before its client does, as MySQL and MariaDB do",
            });
        }
        entered => entered?,
    };
    let cancel = Cancel {
        token: client.cancel_token(),
        place,
        tls,
    };
    Ok(Connected {
        client,
        cancel,
        backend: asked.backend(),
        alive,
    })
}

impl Cancel {
    /// The deadline has passed: nobody waits for this, and the server's own deadline holds without it.
    pub(super) fn ask_in_background(self) {
        tokio::spawn(async move {
            if let Err(error) = tokio::time::timeout(GRACE, self.ask()).await {
                tracing::debug!(%error, "a request to cancel was not taken");
            }
        });
    }

    async fn ask(self) -> std::io::Result<()> {
        let stream = Metered::new(self.place.connect().await?, Allowance::new(4096));
        let asked = match self.tls {
            Some((mut tls, name)) => {
                let Ok(tls) = MakeTlsConnect::<Metered<Wire>>::make_tls_connect(&mut tls, &name);
                self.token.cancel_query_raw(stream, tls).await
            }
            None => self.token.cancel_query_raw(stream, NoTls).await,
        };
        asked.map_err(std::io::Error::other)
    }
}

async fn log_in(
    stream: Metered<Wire>,
    options: &ConnectOptions,
    tls: Option<(MakeRustlsConnect, String)>,
    asked: &Asked,
) -> Result<(Client, oneshot::Sender<()>), Error> {
    let entered = enter(stream, options, tls, asked).await;
    // What comes after it says nothing of the password either: a role that is let in unasked may lack the right to connect.
    if options.proof && asked.was_let_in_unasked() {
        return Err(Error::NotAsked {
            user: options.user.clone(),
        });
    }
    entered.map_err(|error| failure::of_login(&options.host, error))
}

async fn enter(
    stream: Metered<Wire>,
    options: &ConnectOptions,
    tls: Option<(MakeRustlsConnect, String)>,
    asked: &Asked,
) -> Result<(Client, oneshot::Sender<()>), tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .user(&options.user)
        .dbname(&options.database)
        .application_name(&options.application_name);
    if let Some(password) = &options.password {
        config.password(password.expose());
    }
    let (alive, gone) = oneshot::channel();
    let client = if let Some((mut tls, name)) = tls {
        config.ssl_mode(SslMode::Require);
        let Ok(inner) = MakeTlsConnect::<Metered<Wire>>::make_tls_connect(&mut tls, &name);
        let asked = asked.clone();
        let (client, connection) = config.connect_raw(stream, Watching { inner, asked }).await?;
        tokio::spawn(drive(connection, gone));
        client
    } else {
        config.ssl_mode(SslMode::Disable);
        let stream = Watched::new(stream, Head::new(asked.clone()));
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        tokio::spawn(drive(connection, gone));
        client
    };
    Ok((client, alive))
}

/// Runs the connection until it ends by itself; once the session is gone, no longer than the grace.
async fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>>,
    gone: oneshot::Receiver<()>,
) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = gone => tokio::time::timeout(GRACE, connection).await.ok(),
    };
    if let Some(Err(error)) = ended {
        let shown = error.as_db_error().map_or_else(
            || error.to_string(),
            |reported| format!("SQLSTATE {}", reported.code().code()),
        );
        tracing::debug!(error = shown, "a connection ended");
    }
}
