//! What a life before left on the target is ended before the run goes on (rule P1).

use std::sync::Arc;
use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_capability::sql::SessionFacts;
use keywheel_model::{RunId, StepName};
use keywheel_plugin::WALL_CLOCK_LIMIT;
use keywheel_store::{IntentRow, Run};
use keywheel_vault::Author;
use keywheel_workflow::{Call, State};
use serde_json::json;

use crate::Error;
use crate::engine::Inner;
use crate::perform::Performer;
use crate::port::Port;

/// How long ending the sessions may take: a server that does not answer is not worth more than its own deadline.
const TIME: Duration = Duration::from_secs(5);

/// No step is longer: what was intended before has been given up by the server.
const LONGEST_STEP: Duration = WALL_CLOCK_LIMIT.saturating_add(Duration::from_mins(1));

impl Performer {
    /// Ends the sessions through which something on this run's principals may still land, whichever run began it. `true`: nothing can land
    /// any more. `false`: the deadline that the server was given has to be waited for, because a call went through what nobody can end
    /// (a channel), or ending it failed.
    ///
    /// What was begun is in the journal before it was sent, under a fence that is not live any more: nothing else can be on its way.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn end_sessions(
        &self,
        inner: &Arc<Inner>,
        state: &State,
        by: Author,
    ) -> Result<bool, Error> {
        let (accounts, secret) = (self.accounts.clone(), state.settings.secret.clone());
        let since = inner.clock.now() - LONGEST_STEP;
        let in_doubt = inner
            .store
            .read_here(move |reader| {
                let mut ours = Vec::new();
                for row in reader.intents_in_doubt(since)? {
                    let run = reader.run(&row.intent.run)?;
                    let shares = |run: Run| {
                        run.secret == secret
                            || run
                                .principal
                                .lines()
                                .any(|one| accounts.iter().any(|our| our == one))
                    };
                    if run.is_some_and(shares) {
                        ours.push(row);
                    }
                }
                Ok::<_, Error>(ours)
            })
            .await?;
        let Some(sessions) = sessions_of(&in_doubt) else {
            return Ok(false);
        };
        for (run, facts) in &sessions {
            if !self.end(inner, state, &by, run, facts).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn end(
        &self,
        inner: &Arc<Inner>,
        state: &State,
        by: &Author,
        run: &RunId,
        facts: &SessionFacts,
    ) -> Result<bool, Error> {
        let deadline = state.settled_at.min(inner.clock.now() + TIME);
        // For what the port keeps beside it; no plugin is called.
        let call = Call {
            step: StepName::Test,
            subject: None,
            roles: state.roles.clone(),
            attempt: 1,
            interrupted: true,
            deadline,
        };
        let port = Port::new(
            Arc::clone(inner),
            Arc::clone(&self.pinned),
            call,
            by.clone(),
            None,
        );
        let context = match Arc::new(port).context(self, state, deadline).await {
            Ok(context) => context,
            // Nothing is granted while the grants cannot be understood.
            Err(Error::Policy(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let ended = inner.capabilities.prepare(context).end_sessions(run, facts).await;
        let (outcome, said) = match &ended {
            Ok(count) => ("ok", json!({"count": count})),
            Err(error) => ("failed", json!({"error": error.to_string()})),
        };
        let mut details =
            json!({"host": facts.host, "port": facts.port, "user": facts.user, "of": run.as_str()});
        if let (Some(all), Some(said)) = (details.as_object_mut(), said.as_object()) {
            all.extend(said.clone());
        }
        let entry = Entry::of_host("target.end-sessions", self.pinned.secret.as_str(), outcome)
            .in_run(&state.run)
            .with(details);
        inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.audit(&entry).map(|_| ())?))
            .await?;
        Ok(ended.is_ok())
    }
}

/// The sessions that hold what is in doubt, each once. `None`: something went through no such session.
fn sessions_of(in_doubt: &[IntentRow]) -> Option<Vec<(RunId, SessionFacts)>> {
    let mut sessions = Vec::new();
    for row in in_doubt {
        // A login changes nothing, whenever it arrives.
        if row.intent.kind.split(':').next() == Some("login") {
            continue;
        }
        let facts = serde_json::from_str(row.intent.session.as_deref()?).ok()?;
        let session = (row.intent.run.clone(), facts);
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }
    Some(sessions)
}

#[cfg(test)]
mod tests {
    use keywheel_model::{Epoch, Fence, Timestamp};
    use keywheel_store::Intent;

    use super::*;

    fn row(run: u64, kind: &str, session: Option<&str>) -> IntentRow {
        let session = session.map(|database| {
            let facts = json!({
                "host": "db", "port": 5432, "plaintext": false, "trust": null,
                "database": database, "user": "rotator", "input": "admin",
            });
            facts.to_string()
        });
        IntentRow {
            id: 1,
            intent: Intent {
                run: RunId::from_number(run),
                step: StepName::Apply,
                attempt: 1,
                seq: 1,
                kind: kind.to_owned(),
                destination: "db:5432".to_owned(),
                secrets: Vec::new(),
                session,
                fence: Fence(1),
            },
            epoch: Epoch(0),
            at: Timestamp::default(),
            outcome: None,
        }
    }

    #[test]
    fn each_session_of_each_run_is_ended_once() {
        let rows = [
            row(1, "sql:set", Some("a")),
            row(1, "sql:clear", Some("a")),
            row(1, "sql:set", Some("b")),
            row(2, "sql:set", Some("a")),
            row(2, "login:admin", None),
        ];
        let found = sessions_of(&rows).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(run, facts)| (run.clone(), facts.database.as_str()))
            .collect();
        let (one, two) = (RunId::from_number(1), RunId::from_number(2));
        assert_eq!(found, [(one.clone(), "a"), (one, "b"), (two, "a")]);
        assert_eq!(sessions_of(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_went_through_a_channel_can_only_be_waited_for() {
        assert_eq!(sessions_of(&[row(1, "frame:setuser", None)]), None);
        assert_eq!(
            sessions_of(&[row(1, "sql:set", Some("a")), row(1, "frame:setuser", None)]),
            None
        );
        let damaged = IntentRow {
            intent: Intent {
                session: Some("{}".to_owned()),
                ..row(1, "sql:set", None).intent
            },
            ..row(1, "sql:set", None)
        };
        assert_eq!(sessions_of(&[damaged]), None);
    }
}
