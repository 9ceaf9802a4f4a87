use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;

use keywheel_model::address::ParseHostError;
use keywheel_model::{Effect, ErrorKind, SocketFolder, StepError};

use crate::statement::Dialect;

/// What a dial that runs out of time was doing.
pub(crate) const CONNECTING: &str = "connecting";

/// The stream that no secret enters unless a grant says so.
pub(crate) const IN_PLAINTEXT: &str = "a stream in plaintext";

/// Why something on a target failed. [`Error::effect`] says whether the target may have changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No rule names this host and port; nothing was resolved.
    #[error("{host}:{port} is not among the hosts that may be dialled")]
    NotAllowed {
        /// As it was asked for.
        host: String,
        /// As it was asked for.
        port: u16,
    },
    /// A spelling of a host that is not taken: decimal, octal or hexadecimal addresses, a trailing dot, other than ASCII letters.
    #[error("{host:?} is not a host: {why}")]
    Host {
        /// At most 64 characters of it.
        host: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Every address of the host is closed; the first of them is named.
    #[error("{host} leads to {address}, which may not be dialled: {why}")]
    Forbidden {
        /// As it was asked for.
        host: String,
        /// What it leads to.
        address: IpAddr,
        /// Which kind of address that is.
        why: &'static str,
    },
    /// Only a rule with `plaintext` opens a connection without TLS.
    #[error("{host}:{port} may be spoken to with TLS only")]
    PlaintextDenied {
        /// As it was asked for.
        host: String,
        /// As it was asked for.
        port: u16,
    },
    /// The name has no address.
    #[error("{host} cannot be resolved")]
    Unresolved {
        /// As it was asked for.
        host: String,
        /// The resolver's reason.
        #[source]
        source: io::Error,
    },
    /// Whoever is there first would be the server.
    #[error("{folder} is no folder for a server's socket: everybody can write to it")]
    OpenFolder {
        /// As it was asked for.
        folder: String,
    },
    /// No checked address took the connection.
    #[error("{host}:{port} cannot be reached")]
    Unreachable {
        /// As it was asked for.
        host: String,
        /// As it was asked for.
        port: u16,
        /// The last attempt's reason.
        #[source]
        source: io::Error,
    },
    /// The deadline passed.
    #[error("deadline passed while {doing}")]
    Timeout {
        /// What was going on.
        doing: &'static str,
        /// Whether something had been sent that may have taken effect.
        effect: Effect,
    },
    /// The certificate is for another name.
    #[error("the certificate of the server is not for {name}")]
    TlsName {
        /// The name that was wanted.
        name: String,
    },
    /// The certificate's chain does not lead to a trusted root, or is out of date.
    #[error("the certificate of {name} is not trusted: {why}")]
    TlsUntrusted {
        /// The name that was wanted.
        name: String,
        /// What the verifier said.
        why: String,
    },
    /// This machine has no time by which a certificate could be checked.
    #[error("the clock of this machine stands before 1970: no certificate can be checked")]
    Clock,
    /// The server speaks no TLS.
    #[error("{name} does not offer TLS")]
    TlsMissing {
        /// The name that was wanted.
        name: String,
    },
    /// Something else listens there.
    #[error("{name} is no {wanted} server: it {does}")]
    OtherServer {
        /// The name that was dialled.
        name: String,
        /// What it should have been.
        wanted: &'static str,
        /// What shows it.
        does: &'static str,
    },
    /// Any other failure of a handshake.
    #[error("the TLS handshake with {name} failed")]
    Tls {
        /// The name that was wanted.
        name: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A secret was about to enter a stream that is in plaintext or whose certificate nobody checked.
    #[error("no secret is written to {why}")]
    UnsafeStream {
        /// Which kind of stream.
        why: &'static str,
    },
    /// The connection broke.
    #[error("the connection was lost while {doing}")]
    Lost {
        /// What was going on.
        doing: &'static str,
        /// Whether something had been sent that may have taken effect.
        effect: Effect,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The server's answer is not of its protocol.
    #[error("the answer is not {expected}")]
    Protocol {
        /// What it should have been.
        expected: &'static str,
        /// Whether something had been sent that may have taken effect.
        effect: Effect,
    },
    /// A login that was to prove a password was let in before the server asked for one: it proves nothing.
    #[error(
        "the server let {user} in without asking for the password, which proves nothing of it; let pg_hba.conf ask for it (scram-sha-256, not trust, peer or cert)"
    )]
    NotAsked {
        /// As whom.
        user: String,
    },
    /// A login that was to prove a password was let in as another account: it proves nothing of it.
    #[error("the server let {user} in as {account}, which proves nothing of the password")]
    OtherAccount {
        /// Who logged in.
        user: String,
        /// As whom the server takes it.
        account: String,
    },
    /// The server reported an error.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The request is wrong; nothing was sent.
    #[error("{what}")]
    Invalid {
        /// What is wrong; never holds a value.
        what: Cow<'static, str>,
    },
    /// A bound of the host was reached.
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What was too much.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// Whether something had been sent that may have taken effect.
        effect: Effect,
    },
    /// A column of a type that the host does not read.
    #[error("column {name:?} has type {type_name}; cast it to text in the statement")]
    Column {
        /// Its name.
        name: String,
        /// Its type.
        type_name: String,
        /// Whether the statement may have taken effect.
        effect: Effect,
    },
    /// A session was closed or given back inside a transaction (rule H13); the server rolled it back.
    #[error("a transaction was still open at the end")]
    OpenTransaction,
}

/// An error that an SQL server reported. For a statement that carried a secret it holds the SQLSTATE and nothing else (rule H6):
/// servers quote literals in their messages.
#[derive(Debug, thiserror::Error)]
#[error("the server refused with {}{}", self.name(), .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
pub struct SqlError {
    /// Whose number and SQLSTATE it is.
    pub dialect: Dialect,
    /// Five characters, upper case; empty where the server has none (SQL Server).
    pub sqlstate: String,
    /// The server's own number, where it has one (MySQL, MariaDB, SQL Server): there it says more than the SQLSTATE.
    pub number: Option<u32>,
    /// What the caller should do.
    pub kind: ErrorKind,
    /// Whether the target may have changed.
    pub effect: Effect,
    /// The server's words, cut to 400 characters and one line; none when a secret was inside.
    pub message: Option<String>,
}

impl SqlError {
    fn name(&self) -> String {
        match self.number {
            Some(number) if self.sqlstate.is_empty() => format!("error {number}"),
            Some(number) => format!("error {number} (SQLSTATE {})", self.sqlstate),
            None => format!("SQLSTATE {}", self.sqlstate),
        }
    }
}

impl From<ParseHostError> for Error {
    fn from(error: ParseHostError) -> Self {
        let ParseHostError { host, why } = error;
        Self::Host { host, why }
    }
}

impl Error {
    pub(crate) fn invalid(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// Whether the target may have changed.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Timeout { effect, .. }
            | Self::Lost { effect, .. }
            | Self::Protocol { effect, .. }
            | Self::Limit { effect, .. }
            | Self::Column { effect, .. } => *effect,
            Self::Sql(error) => error.effect,
            _ => Effect::None,
        }
    }

    /// Whether no connection came about, or none that took the password, so that no login can have been sent. A deadline that passed within the login is not sure of it.
    pub fn is_before_login(&self) -> bool {
        match self {
            Self::NotAllowed { .. }
            | Self::Host { .. }
            | Self::Forbidden { .. }
            | Self::OpenFolder { .. }
            | Self::PlaintextDenied { .. }
            | Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::TlsName { .. }
            | Self::TlsUntrusted { .. }
            | Self::TlsMissing { .. }
            | Self::OtherServer { .. }
            | Self::Clock
            | Self::Tls { .. }
            | Self::UnsafeStream { .. }
            | Self::NotAsked { .. }
            | Self::OtherAccount { .. } => true,
            Self::Timeout { doing, .. } => *doing == CONNECTING,
            // The server is starting or has no room: it has refused no password.
            Self::Sql(error) => match error.number {
                Some(number) if error.dialect == Dialect::MsSql => crate::mssql::is_before_login(number),
                Some(number) => crate::mysql::is_before_login(number),
                None => matches!(error.sqlstate.as_str(), "57P03" | "53300"),
            },
            _ => false,
        }
    }

    /// Whether a secret was not written for want of TLS: that is for a grant to allow.
    pub fn is_want_of_tls(&self) -> bool {
        matches!(self, Self::UnsafeStream { why } if *why == IN_PLAINTEXT)
    }

    /// The same error with the worse of its effect and the given one, where the variant knows more than one.
    #[must_use]
    pub fn at_least(mut self, seen: Effect) -> Self {
        match &mut self {
            Self::Timeout { effect, .. }
            | Self::Lost { effect, .. }
            | Self::Protocol { effect, .. }
            | Self::Limit { effect, .. }
            | Self::Column { effect, .. } => *effect = seen.max(*effect),
            Self::Sql(error) => error.effect = seen.max(error.effect),
            _ => {}
        }
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAllowed { .. }
            | Self::Forbidden { .. }
            | Self::OpenFolder { .. }
            | Self::PlaintextDenied { .. }
            | Self::UnsafeStream { .. } => ErrorKind::Denied,
            Self::Host { .. } | Self::Invalid { .. } | Self::Column { .. } => ErrorKind::Invalid,
            Self::Unresolved { .. } | Self::Unreachable { .. } | Self::Tls { .. } | Self::Lost { .. } => {
                ErrorKind::Unavailable
            }
            Self::TlsName { .. }
            | Self::TlsUntrusted { .. }
            | Self::TlsMissing { .. }
            | Self::OtherServer { .. }
            | Self::Clock
            | Self::NotAsked { .. }
            | Self::OtherAccount { .. }
            | Self::Protocol { .. }
            | Self::OpenTransaction => ErrorKind::Other,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Sql(error) => error.kind,
        }
    }

    /// Stable, dotted, lower case; `sql.` and the server's own number for its error, else the SQLSTATE.
    pub fn code(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotAllowed { .. } => "net.not-allowed",
            Self::Host { .. } => "net.host",
            Self::Forbidden { .. } => "net.forbidden-address",
            Self::OpenFolder { .. } => "net.open-folder",
            Self::PlaintextDenied { .. } => "net.plaintext-denied",
            Self::Unresolved { .. } => "net.unresolved",
            Self::Unreachable { .. } => "net.unreachable",
            Self::Timeout { .. } => "net.timeout",
            Self::TlsName { .. } => "tls.name",
            Self::TlsUntrusted { .. } => "tls.untrusted",
            Self::TlsMissing { .. } => "tls.missing",
            Self::OtherServer { .. } => "net.other-server",
            Self::Clock => "tls.clock",
            Self::Tls { .. } => "tls.handshake",
            Self::UnsafeStream { .. } => "net.unsafe-stream",
            Self::Lost { .. } => "net.lost",
            Self::Protocol { .. } => "net.protocol",
            Self::NotAsked { .. } | Self::OtherAccount { .. } => "login.not-asked",
            Self::Invalid { .. } => "target.invalid",
            Self::Limit { .. } => "target.limit",
            Self::Column { .. } => "sql.column-type",
            Self::OpenTransaction => "sql.open-transaction",
            Self::Sql(error) => {
                return Cow::Owned(match error.number {
                    Some(number) => format!("sql.{number}"),
                    None => format!("sql.{}", error.sqlstate.to_ascii_lowercase()),
                });
            }
        })
    }

    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAllowed { host, port } if SocketFolder::is_meant(host) => {
                format!("add \"{host}:{port} socket\" to `hosts` of the grant")
            }
            Self::OpenFolder { .. } => {
                "give the server a folder that its account alone can write to: `unix_socket_directories`".to_owned()
            }
            Self::NotAllowed { host, port } => format!("add \"{host}:{port} tls\" to `hosts` of the grant"),
            Self::PlaintextDenied { host, port } => format!("use TLS, or add \"{host}:{port} plaintext\" to `hosts` of the grant"),
            Self::Forbidden { why, .. } if *why == crate::dial::PRIVATE => {
                "name the address or its network in `hosts` of the grant".to_owned()
            }
            Self::Forbidden { why, .. } if *why == crate::dial::LOOPBACK => {
                "write the address itself as the host, in the rotation and in the grant".to_owned()
            }
            Self::Host { .. } => "write a DNS name in lower-case ASCII (xn-- for others), an IPv4 address as four decimal numbers, or an IPv6 address".to_owned(),
            Self::TlsName { .. } => "use the name that is in the certificate, or give the server one for this name".to_owned(),
            Self::TlsUntrusted { .. } => "name the authority that issued it in a trust set: docs/operators.md, Certificates".to_owned(),
            Self::TlsMissing { .. } => "switch TLS on in the server, or allow plaintext for it in words".to_owned(),
            Self::OtherServer { .. } => "correct `host` and `port`, or use the plugin of the server that is there".to_owned(),
            Self::Clock => "set the clock of this machine, and keep it set (NTP)".to_owned(),
            Self::OtherAccount { user, .. } => format!(
                "start the server with its grant tables (no skip-grant-tables), and give {user} no proxy"
            ),
            Self::NotAsked { user } => format!("let pg_hba.conf of the server ask {user} for its password (scram-sha-256)"),
            _ => return None,
        })
    }

    /// As a step reports it: the message and its first cause, no secret material.
    pub fn to_step_error(&self) -> StepError {
        let message = match self.source() {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        };
        StepError::new(self.kind(), self.code(), message).with_effect(self.effect())
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        error.to_step_error()
    }
}
