//! In an emergency, a statement that no transaction was begun for goes with those of other runs. Every run keeps its own intent, conclusion and
//! error; what the takeover of one ends is their one session, and each of them looks at the target itself.

use std::sync::Arc;

use keywheel_model::{Effect, Trigger, VersionId};
use keywheel_target::postgres::{ConnectOptions, Opening};
use wasmtime::component::Resource;

use super::connection::{Connection, Later};
use super::link::Link;
use super::statement::Statement;
use crate::error::Error;
use crate::guard::{Ended, Peer, Permitted};
use crate::net::Destined;
use crate::state::HostState;

impl HostState {
    /// What a connection is opened from once it needs a session. None: it is opened now. Only a run that answers a compromise shares: for every
    /// other, one that waits for a lock must hold up nobody else.
    pub(super) fn can_share(
        &self,
        destined: &Destined,
        options: &ConnectOptions,
        version: Option<&VersionId>,
    ) -> Option<Arc<Opening>> {
        let version = version.filter(|version| {
            self.step.trigger == Trigger::Compromise && self.sql.pool.knows(options, version)
        })?;
        Some(Arc::new(Opening {
            outbound: destined.outbound.clone(),
            rules: destined.rules.to_vec(),
            options: options.clone(),
            version: version.clone(),
        }))
    }

    /// The session of a connection that was opened for later.
    pub(super) async fn open_now(&mut self, later: &Later, peer: &Peer) -> Result<Link, Error> {
        let Opening {
            outbound,
            rules,
            options,
            version,
        } = &*later.opening;
        let deadline = later
            .timeout
            .map_or(self.deadline(), |timeout| self.deadline().within(timeout));
        let pool = self.sql.pool.clone();
        match pool.checkout(outbound, rules, options, version, deadline).await {
            Ok(session) => Ok(Link::Lent(Box::new(session))),
            Err(error) => Err(self.cannot_open(peer, error).await),
        }
    }

    /// The intent names the session before anything is handed in: a takeover ends that one.
    pub(super) async fn execute_shared(
        &mut self,
        connection: &Resource<Connection>,
        statement: &Resource<Statement>,
        mut permitted: Permitted,
        opening: Arc<Opening>,
    ) -> Result<u64, Error> {
        let peer = self.table.get(connection)?.peer.clone();
        let Some(seat) = self.sql.pool.join(opening, self.step.manifest.name.as_str()) else {
            return Err(Error::Host(wasmtime::Error::msg(
                "a session of the pool is not pooled",
            )));
        };
        if let Some(facts) = &mut permitted.session {
            facts.names = seat.application_names().into();
        }
        let begun = self.begin(permitted, &peer).await?;
        let deadline = self.deadline();
        let done = seat.execute(self.table.get(statement)?.quoted(), deadline).await;
        let effect = done
            .as_ref()
            .err()
            .map_or(Effect::Applied, keywheel_target::Error::effect);
        let code = done.as_ref().err().map(|error| error.code().into_owned());
        let ended = Ended {
            effect,
            login: None,
            code,
        };
        self.conclude(begun, ended).await?;
        match done {
            Ok(count) => Ok(count),
            Err(error) => Err(self.failed(error).await),
        }
    }
}
