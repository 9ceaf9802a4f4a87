//! Ending what a dead host left on a server, before its run is taken over (rule P1).

use keywheel_manifest::SecretRole;
use keywheel_model::RunId;
use keywheel_policy::Transport;
use keywheel_target::postgres::{ConnectOptions, Security, Session};
use keywheel_target::tls::TlsOptions;
use keywheel_target::{Deadline, Error as TargetError};
use serde::{Deserialize, Serialize};

use super::application_name;
use crate::error::Error;
use crate::guard::Peer;
use crate::net::Destined;
use crate::port::Wanted;
use crate::state::HostState;

/// What the session is called that ends the others: never the name of a run.
const NAME: &str = "keywheel takeover";

/// Where a session of a run is, and as whom it can be ended. Kept with each intent that went through it; holds names, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SessionFacts {
    /// As the guest gave it: what the grant names.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether it went without TLS, as the grant said in words.
    pub plaintext: bool,
    /// The trust set of the configuration; none: the operating system's.
    pub trust: Option<String>,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The rotation's input that logged in, such as `admin`.
    pub input: String,
    /// What the sessions may be called that the statement goes through, where that is not the run's name: one that is shared with other runs, and its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl SessionFacts {
    fn peer(&self) -> Peer {
        Peer {
            host: self.host.clone(),
            port: self.port,
            transport: Transport::to(&self.host, self.plaintext),
        }
    }
}

impl HostState {
    /// Ends every session on that server that carries a run's name, or the one that it shared, over a fresh login with the same input of this rotation, and waits
    /// until none is left. How many there were.
    ///
    /// # Errors
    /// The grant does not allow it any more, the input is gone, the server cannot be reached, the user may not, one does not end.
    pub async fn end_sessions(&mut self, run: &RunId, facts: &SessionFacts) -> Result<u64, Error> {
        let role = SecretRole::Input(facts.input.clone());
        self.permit_secret(&role).await?;
        let peer = facts.peer();
        let destination = self.permit_destination(&peer).await?;
        let destined = Destined::new(&peer, destination, &self.sql.outbound)?;
        let input = self.step.port.load(&Wanted::Input(facts.input.clone())).await?;
        let Some(input) = input else {
            return Err(Error::invalid(
                "run.input",
                format!("there is no input `{}`", facts.input),
            ));
        };
        let mut options = ConnectOptions::new(
            &facts.host,
            facts.port,
            &facts.database,
            &facts.user,
            Some(input.value),
        );
        NAME.clone_into(&mut options.application_name);
        options.security = security(&peer, facts.trust.clone());
        let deadline = self.deadline();
        let session = Session::open(&destined.outbound, &destined.rules, &options, deadline).await;
        let ended = match session {
            Ok(session) => end_all(session, facts, run, deadline).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(count) => Ok(count),
            Err(error) => Err(self.failed(error).await),
        }
    }
}

/// By each of the names that they may have.
async fn end_all(
    mut session: Session,
    facts: &SessionFacts,
    run: &RunId,
    deadline: Deadline,
) -> Result<u64, TargetError> {
    if facts.names.is_empty() {
        return session.end_sessions(&application_name(run), deadline).await;
    }
    let mut count = 0;
    for name in &facts.names {
        count += session.end_sessions(name, deadline).await?;
    }
    Ok(count)
}

/// How a peer is spoken to.
pub(super) fn security(peer: &Peer, trust: Option<String>) -> Security {
    match peer.transport {
        // What goes over a socket is seen by nobody else.
        Transport::Plaintext | Transport::Socket => Security::Plaintext,
        Transport::Tls => Security::Tls(TlsOptions {
            trust,
            ..TlsOptions::for_name(&peer.host)
        }),
    }
}
