//! What a call writes to the journal, and its scratch state.

use std::time::Duration;

use keywheel_audit::Entry;
use keywheel_capability::port::{AuditFact, Conclusion, Intent};
use keywheel_model::{Effect, ErrorKind, StepError, Timestamp};
use keywheel_store::Transaction;
use keywheel_traces::{Fact, Kind, What};
use serde_json::json;

use super::Port;

/// Comparisons that may ever be made with one version (rule H10); a year is longer than any version should live.
const COMPARISONS: u32 = 16;
const COMPARISON_WINDOW: Duration = Duration::from_hours(365 * 24);

/// `sql:set`, `frame`, `http:create#KEY`: the kind, the shape, and the key by which the target knows a request again.
fn written_kind(intent: &Intent) -> String {
    let shape = intent.shape.iter().map(|shape| format!(":{shape}"));
    let key = intent.idempotency.iter().map(|key| format!("#{key}"));
    std::iter::once(intent.kind.to_owned())
        .chain(shape)
        .chain(key)
        .collect()
}

impl Port {
    pub(super) async fn scratch(&self, key: &str) -> Result<Option<Vec<u8>>, StepError> {
        let (run, key) = (self.by.run.clone(), key.to_owned());
        self.inner
            .store
            .read_here(move |reader| reader.scratch(&run, &key))
            .await
            .map_err(|error| store_error(&error))
    }

    pub(super) async fn set_scratch(&self, key: &str, value: Option<&[u8]>) -> Result<(), StepError> {
        if !self.journalled {
            return Err(StepError::new(
                ErrorKind::Invalid,
                "run.outside",
                "there is no run whose state could be kept",
            ));
        }
        let (key, value) = (key.to_owned(), value.map(<[u8]>::to_vec));
        let run = self.by.run.clone();
        self.write(move |tx| match &value {
            Some(value) => tx.set_scratch(&run, &key, value),
            None => tx.delete_scratch(&run, &key),
        })
        .await
    }

    pub(super) async fn append_intent(&self, intent: &Intent) -> Result<u64, StepError> {
        let (run, step, attempt) = (self.by.run.clone(), self.call.step, self.call.attempt);
        let fence = self.by.fence;
        let intent = intent.clone();
        let session = intent.session.as_ref().map(serde_json::to_string).transpose();
        let session = session
            .map_err(|_| StepError::new(ErrorKind::Other, "host.defect", "a session cannot be described"))?;
        if !self.journalled {
            let details = json!({"kind": intent.kind, "destination": intent.destination, "shape": intent.shape, "step": step.as_str()});
            let entry = self.entry("plugin.look", &self.pinned.secret).with(details);
            return self.write(move |tx| tx.audit(&entry)).await;
        }
        self.write(move |tx| {
            // A try that a crash cut off may have the same number: its places stay taken.
            let taken = tx
                .intents(&run)?
                .into_iter()
                .filter(|row| row.intent.step == step && row.intent.attempt == attempt)
                .count();
            tx.append_intent(&keywheel_store::Intent {
                run,
                step,
                attempt,
                seq: u32::try_from(taken).unwrap_or(u32::MAX).saturating_add(1),
                kind: written_kind(&intent),
                destination: intent.destination,
                secrets: intent.secrets,
                session,
                fence,
            })
        })
        .await
    }

    pub(super) async fn append_conclusion(
        &self,
        intent: u64,
        conclusion: &Conclusion,
    ) -> Result<(), StepError> {
        if !self.journalled {
            return Ok(());
        }
        let effect = conclusion.effect;
        let code = conclusion.code.clone().unwrap_or_else(|| "ok".to_owned());
        self.write(move |tx| tx.append_outcome(intent, effect, &code))
            .await
    }

    /// A call of a target has come to its end: what it was, whom it called, and what became of it. Nothing of what it carried.
    pub(super) fn trace_call(&self, intent: u64, conclusion: &Conclusion) {
        let Some((call, begun)) = self.told().calls.remove(&intent) else {
            return;
        };
        let (host, port) = call
            .destination
            .rsplit_once(':')
            .unwrap_or((&call.destination, ""));
        let facts = [
            Some(Fact::Run(self.by.run.clone())),
            Some(Fact::Step(self.call.step)),
            Some(Fact::Attempt(self.call.attempt)),
            Some(Fact::Call(call.kind)),
            call.shape.clone().map(Fact::Shape),
            Some(Fact::Effect(conclusion.effect)),
            Some(Fact::Server(host.trim_matches(['[', ']']).to_owned())),
            port.parse().ok().map(Fact::Port),
            conclusion.code.clone().map(Fact::Code),
        ];
        let shape = call.shape.as_deref().unwrap_or_default();
        let what = What {
            name: format!("{} {shape}", call.kind).trim_end().to_owned(),
            kind: Kind::Client,
            facts: facts.into_iter().flatten().collect(),
        };
        self.inner.traces.end(begun, &self.by.run, self.span, what);
    }

    pub(super) async fn append_fact(&self, fact: &AuditFact) -> Result<(), StepError> {
        let (action, outcome, details) = match fact {
            AuditFact::Denied {
                code,
                message,
                request,
            } => (
                "plugin.call",
                "denied",
                json!({"code": code, "message": message, "request": request}),
            ),
            AuditFact::Used { secret, role } => ("secret.use", "ok", json!({"secret": secret, "role": role})),
            AuditFact::Concealed { secret } => ("secret.conceal", "ok", json!({"secret": secret})),
        };
        // A use is told under the name of the secret that was used, which may be an input: `name@version`.
        let used = match fact {
            AuditFact::Used { secret, .. } => secret.split_once('@').map(|(name, _)| name),
            _ => None,
        };
        let entry = Entry::of_host(action, used.unwrap_or(self.pinned.secret.as_str()), outcome)
            .by(format!("plugin-of:{}", self.pinned.rotation))
            .in_run(&self.by.run)
            .with(with_step(details, self.call.step));
        if matches!(fact, AuditFact::Denied { .. }) {
            return self.write(move |tx| tx.audit(&entry).map(|_| ())).await;
        }
        self.told().uses.push(entry);
        Ok(())
    }

    /// Writes what the call has used and not yet told. Called when it is over: before that, whatever it wrote has told it.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn settle(&self) -> Result<(), crate::Error> {
        let uses = self.told().uses.clone();
        if uses.is_empty() {
            return Ok(());
        }
        let store = &self.inner.store;
        store
            .write(move |tx| Ok::<_, crate::Error>(record(tx, &uses)?))
            .await?;
        self.told().uses.clear();
        Ok(())
    }

    pub(super) async fn journal_fact(
        &self,
        what: &'static str,
        of: &str,
        at: Timestamp,
    ) -> Result<(), StepError> {
        let entry = self
            .entry("secret.fact", &self.pinned.secret)
            .with(json!({"what": what, "of": of, "at": at.as_unix_ms()}));
        self.write(move |tx| tx.audit(&entry).map(|_| ())).await
    }

    /// Takes one comparison from the budget of both; `false` when one has none left. Two stored versions that were compared before never change: the
    /// answer is known, and asked for again it costs nothing.
    pub(super) async fn spend(&self, identities: [&str; 2]) -> Result<bool, StepError> {
        let run = self.by.run.clone();
        let accounts = identities.map(|identity| format!("compare {identity}"));
        let pair = pair_of(identities);
        let spent = self
            .inner
            .store
            .write(move |tx| {
                if let Some(pair) = &pair
                    && tx.meta(pair)?.is_some()
                {
                    return Ok(());
                }
                accounts.iter().try_for_each(|account| {
                    tx.spend_probe(account, &run, COMPARISONS, COMPARISON_WINDOW)
                        .map(|_| ())
                })?;
                pair.iter().try_for_each(|pair| tx.set_meta(pair, ""))
            })
            .await;
        match spent {
            Ok(()) => Ok(true),
            Err(keywheel_store::Error::BudgetSpent { .. }) => Ok(false),
            Err(error) => Err(store_error(&error)),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, keywheel_store::Error> + Send + 'static,
    ) -> Result<T, StepError> {
        let uses = self.told().uses.clone();
        let written = self.inner.store.write(move |tx| {
            record(tx, &uses)?;
            change(tx)
        });
        let value = written.await.map_err(|error| store_error(&error))?;
        // A call writes one thing after the other: nothing was used meanwhile.
        self.told().uses.clear();
        Ok(value)
    }
}

/// Under which it is noted that two stored versions were compared; none where one of the two is no stored version.
fn pair_of(identities: [&str; 2]) -> Option<String> {
    let [one, other] = identities.map(|identity| Some((identity.split_once('@')?.1, identity)));
    let (one, other) = (one?, other?);
    if ![one, other]
        .iter()
        .all(|(version, _)| version.starts_with("ver-"))
    {
        return None;
    }
    // The newer one first: the note goes with it, when it is forgotten, and no version collects notes of all that it outlives.
    let (newer, older) = if one > other {
        (one.1, other.1)
    } else {
        (other.1, one.1)
    };
    Some(format!("{}{older}", compared_with(newer)))
}

/// What the keys of notes begin with that tell with what a stored version was compared.
pub(crate) fn compared_with(identity: &str) -> String {
    format!("compared {identity} ")
}

/// Writes entries in their order.
pub(super) fn record(tx: &Transaction<'_>, entries: &[Entry]) -> Result<(), keywheel_store::Error> {
    entries.iter().try_for_each(|entry| tx.audit(entry).map(|_| ()))
}

fn with_step(mut details: serde_json::Value, step: keywheel_model::StepName) -> serde_json::Value {
    if let Some(map) = details.as_object_mut() {
        map.insert("step".to_owned(), step.as_str().into());
    }
    details
}

/// The store's error as a step's. Nothing of it reaches a target.
fn store_error(error: &keywheel_store::Error) -> StepError {
    let kind = match error {
        keywheel_store::Error::Stale { .. } => ErrorKind::Cancelled,
        keywheel_store::Error::Limit { .. } => ErrorKind::Limit,
        keywheel_store::Error::Conflict { .. } => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    };
    StepError::new(kind, error.code(), error.to_string()).with_effect(Effect::None)
}
