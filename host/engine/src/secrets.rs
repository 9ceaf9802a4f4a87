//! Secrets by name: listed, shown, imported, read.

use std::collections::BTreeMap;

use keywheel_audit::Entry;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::mask::holds_weak;
use keywheel_failpoint::{Point, reach};
use keywheel_model::{RunId, SecretBytes, SecretName, StepError, Timestamp, Trigger, Verdict, VersionId};
use keywheel_store::{LeaseKey, LeaseRequest};
use keywheel_vault::{Author, Origin, Pending, Promotion, Rider, SecretValue, Vault as _, VersionInfo};
use keywheel_workflow::Event;
use serde_json::json;

use crate::actor::actor;
use crate::engine::{Engine, Inner};
use crate::forms::refused;
use crate::journal::{LEASE, free_ghosts};
use crate::labels::metadata;
use crate::perform::identity;
use crate::view::{RunView, SameValue, SecretView, VersionView};
use crate::{Error, Left, Order};

/// Most bytes of an imported value.
const VALUE_BYTES: usize = 64 * 1024;

/// A credential that exists already.
pub struct Import {
    /// Its name in the vault.
    pub name: SecretName,
    /// Its value.
    pub value: SecretBytes,
    /// Facts that go with it and are no secret.
    pub annotations: BTreeMap<String, String>,
    /// When it stops to be valid, where that is known.
    pub expires: Option<Timestamp>,
}

impl Import {
    /// Whether the value, or the password in it, is one that cannot be watched for in what a plugin reads.
    pub fn is_weak(&self) -> bool {
        holds_weak(self.value.expose())
    }

    /// Whether the value looks like more than a password: a URL with a user, a list of keywords, a JSON document.
    pub fn is_composed(&self) -> bool {
        let value = self.value.expose();
        let has = |word: &str| {
            value
                .windows(word.len())
                .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        };
        (has("://") && has("@"))
            || has("password=")
            || has("pwd=")
            || value.trim_ascii_start().starts_with(b"{")
    }
}

/// What became of an import.
#[derive(Debug)]
pub enum Imported {
    /// No rotation has it: it is current, unverified.
    Stored(VersionId),
    /// It took the place of a value that no rotation had when it was imported and that the target does not take. This is what the target says
    /// of the new one; it is current whatever that is.
    Replaced(VersionId, Result<Verdict, StepError>),
    /// A rotation has it: it was verified by a run `adopt` (rule P15).
    Adopted(Box<RunView>, Left),
}

impl Engine {
    /// All secrets, by name; those that a rotation names and that have no version too.
    ///
    /// # Errors
    /// The vault is sealed or unreadable.
    pub async fn secrets(&self) -> Result<Vec<SecretView>, Error> {
        let mut names = self.inner.vault.names().await?;
        for rotation in &self.inner.config.rotations {
            names.push(rotation.secret.clone());
            names.extend(rotation.inputs.values().cloned());
        }
        names.sort();
        names.dedup();
        let mut views = Vec::with_capacity(names.len());
        for name in &names {
            views.push(self.secret(name).await?);
        }
        Ok(views)
    }

    /// One secret.
    ///
    /// # Errors
    /// The vault is sealed or unreadable.
    pub async fn secret(&self, name: &SecretName) -> Result<SecretView, Error> {
        let head = self.inner.vault.live(name, &[]).await?;
        let counted = name.clone();
        let versions = self
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.version_count(&counted)?))
            .await?;
        let current = head.current();
        let rotation = self.inner.config.rotation_of(name);
        let consumers = match rotation.as_deref() {
            Some(rotation) => self.inner.consumers(rotation, current.map(identity)).await?,
            None => Vec::new(),
        };
        Ok(SecretView {
            name: name.clone(),
            rotation: rotation.map(|rotation| rotation.name.clone()),
            consumers,
            current: current.map(|version| version.id.clone()),
            current_since: current.map(|version| version.created),
            expires_at: current.and_then(|version| version.metadata.expires),
            versions,
            open_run: self.open_run_of(name).await?,
        })
    }

    /// The versions of a secret, newest first.
    ///
    /// # Errors
    /// [`Error::NoSecret`] when there is none.
    pub async fn history(&self, name: &SecretName) -> Result<Vec<VersionView>, Error> {
        let head = self.inner.vault.head(name).await?;
        if head.versions.is_empty() {
            return Err(Error::NoSecret { secret: name.clone() });
        }
        let same_value = |version: &VersionInfo| {
            let others = head.versions.iter().filter(|other| other.id != version.id);
            let same = others.filter(|other| identity(other) == identity(version));
            same.map(|other| SameValue {
                version: other.id.clone(),
                stage: other.stage,
            })
            .collect()
        };
        let same: Vec<_> = head.versions.iter().map(same_value).collect();
        Ok(head
            .versions
            .into_iter()
            .zip(same)
            .map(|(version, same_value)| VersionView {
                same_value,
                version: version.id,
                number: version.number,
                stage: version.stage,
                created_at: version.created,
                run: Some(version.run),
                expires_at: version.metadata.expires,
                annotations: version.metadata.annotations,
            })
            .collect())
    }

    /// Takes an existing credential over. One that a rotation has is pending until the target has accepted it, and is never changed
    /// because it is new (rule P15).
    ///
    /// # Errors
    /// [`Error::Value`], [`Error::Doubled`], [`Error::AlreadyCurrent`] for a rotated secret that has a current version; [`Error::OpenRun`];
    /// [`Error::NoInputs`] while an input of its rotation has no value.
    pub async fn import(&self, import: Import, mut order: Order<'_>) -> Result<Imported, Error> {
        check_value(&import.value)?;
        let inner = &self.inner;
        inner.check_doubled(&import)?;
        let Some(rotation) = inner.config.rotation_of(&import.name) else {
            self.check_no_open_run(&import.name).await?;
            return inner.store_import(import).await.map(Imported::Stored);
        };
        let rotation = &*rotation;
        inner.config.usable(rotation)?;
        if inner.vault.live(&import.name, &[]).await?.current().is_some() {
            return self.replace_untried(import).await;
        }
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_settings(rotation, &plugin).await?;
        inner.check_inputs(rotation).await?;
        order.trigger = Trigger::Adopt;
        let turn = inner.turns.begin(inner.clock.now());
        let run = turn.run().clone();
        let (saved, performer) = inner.begin(&turn, rotation, &plugin, &order).await?;
        if let Err(error) = inner.store_adopted(&run, &performer.keys, &import).await {
            // The run has nothing to adopt. Where not even this can be kept, `run cancel` ends it.
            if let Err(failure) = inner.drop_unbegun(saved).await {
                tracing::warn!(%run, %failure, "the run of a failed import stays open");
            }
            return Err(error);
        }
        let (view, left) = inner
            .drive(turn, saved, performer, vec![Event::Start], order)
            .await?;
        Ok(Imported::Adopted(Box::new(view), left))
    }

    /// An import where a rotation has a current value already: only one that the target does not take, and never did, is replaced.
    async fn replace_untried(&self, import: Import) -> Result<Imported, Error> {
        let inner = &self.inner;
        let taken = Error::AlreadyCurrent {
            secret: import.name.clone(),
        };
        let Some(rotation) = inner.config.rotation_of(&import.name) else {
            return Err(taken);
        };
        let rotation = &*rotation;
        let Some(untried) = inner.untried(rotation).await? else {
            return Err(taken);
        };
        self.check_no_open_run(&import.name).await?;
        let plugin = inner.plugin(&rotation.plugin)?;
        inner.check_settings(rotation, &plugin).await?;
        let verdict = inner.test_version(rotation, &untried.version).await?;
        if matches!(verdict, Ok(Verdict::Accepted)) {
            inner.note_tried(rotation, &untried.version).await?;
            return Err(taken);
        }
        if !untried.is_refuted(&verdict) {
            // As long as it may be the right one it stays.
            return Err(untried.refusal(rotation, &verdict));
        }
        let version = inner.store_import(import).await?;
        let verdict = inner.test_version(rotation, &version).await?;
        if matches!(verdict, Ok(Verdict::Accepted)) {
            inner.note_tried(rotation, &version).await?;
        }
        Ok(Imported::Replaced(version, verdict))
    }
}

impl Inner {
    /// The value that a run is to adopt, pending.
    async fn store_adopted(&self, run: &RunId, keys: &[LeaseKey], import: &Import) -> Result<(), Error> {
        let by = self.hold(run, keys.to_vec()).await?;
        let rider = audited("secret.import", &import.name, Some(run), None);
        reach(Point::PendingBefore);
        let stored = match self.pending(import).await {
            Ok(pending) => self.vault.import(&by, pending, rider).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        reach(Point::PendingAfter);
        self.journal.release(run, by.fence).await?;
        stored.map(|_| ())
    }

    /// A value that was imported, with its rotation's forms.
    async fn pending(&self, import: &Import) -> Result<Pending, Error> {
        let (secret, labels) = imported(import)?;
        let outputs = match self.config.rotation_of(&import.name) {
            Some(rotation) => {
                let forms = self.written_forms(&import.name, &rotation.forms, &labels, &import.value);
                forms.await.map_err(|problem| refused(&rotation.name, &problem))?
            }
            None => Vec::new(),
        };
        Ok(Pending {
            name: import.name.clone(),
            secret,
            outputs,
        })
    }

    /// A secret that no rotation has: an administrator's credential. It becomes current at once.
    async fn store_import(&self, import: Import) -> Result<VersionId, Error> {
        let run = RunId::fresh(self.clock.now());
        let by = self
            .hold(&run, vec![LeaseKey::Secret(import.name.clone())])
            .await?;
        let stored = self.import_and_promote(&by, &import).await;
        self.journal.release(&run, by.fence).await?;
        stored
    }

    async fn import_and_promote(&self, by: &Author, import: &Import) -> Result<VersionId, Error> {
        let expected_current = self
            .vault
            .live(&import.name, &[])
            .await?
            .current()
            .map(|version| version.id.clone());
        let version = self
            .vault
            .import(by, self.pending(import).await?, Rider::none())
            .await?;
        let promotion = Promotion {
            name: import.name.clone(),
            pending: version.clone(),
            expected_current: expected_current.clone(),
            also: Vec::new(),
        };
        self.vault
            .promote(by, promotion, audited("secret.import", &import.name, None, None))
            .await?;
        self.retire(expected_current.as_ref());
        Ok(version)
    }

    /// A short lease, for work outside of a driven run.
    pub(crate) async fn hold(&self, run: &RunId, keys: Vec<LeaseKey>) -> Result<Author, Error> {
        let request = LeaseRequest {
            run: run.clone(),
            holder: actor(),
            keys,
            until: self.clock.now() + LEASE,
        };
        let fence = self
            .store
            .write(move |tx| {
                // Taken without this, they would not show any more that they bear a time ahead of now.
                tx.set_leases_back(&request.keys, LEASE)?;
                free_ghosts(tx, &request.keys)?;
                tx.acquire_leases(&request)
            })
            .await?;
        Ok(Author {
            run: run.clone(),
            fence,
        })
    }
}

/// An imported value as it is kept.
fn imported(import: &Import) -> Result<(SecretValue, Labels), Error> {
    let json =
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(import.value.expose()).is_ok();
    let media_type = if json { "application/json" } else { "text/plain" };
    let labels = Labels::imported(media_type, Alphabet::of_foreign(import.value.expose()));
    let mut kept = metadata(&labels, import.expires).map_err(|_| Error::Value {
        what: "its labels cannot be kept",
    })?;
    kept.labels.origin = Origin::Imported;
    kept.annotations.clone_from(&import.annotations);
    let secret = SecretValue {
        value: import.value.duplicate(),
        metadata: kept,
    };
    Ok((secret, labels))
}

fn check_value(value: &SecretBytes) -> Result<(), Error> {
    let bytes = value.expose();
    let what = if bytes.is_empty() {
        "it is empty"
    } else if bytes.len() > VALUE_BYTES {
        "it has more than 64 KiB"
    } else if bytes.contains(&0) {
        "it holds a NUL byte, which no target takes in a password"
    } else {
        return Ok(());
    };
    Err(Error::Value { what })
}

pub(crate) fn audited(
    action: &'static str,
    name: &SecretName,
    run: Option<&RunId>,
    reason: Option<&str>,
) -> Rider {
    let mut entry = Entry::of_host(action, name.as_str(), "ok").by(actor());
    if let Some(reason) = reason {
        entry = entry.with(json!({ "reason": reason }));
    }
    entry.run = run.cloned();
    Rider::new(move |tx| tx.audit(&entry).map(|_| ()))
}

pub(crate) fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::Limited(why) => format!("accepted with too few rights: {why}"),
        Verdict::Rejected => "rejected".to_owned(),
        Verdict::Account(why) => format!("the account itself is refused: {why}"),
        Verdict::Unknown(why) => format!("unknown: {why}"),
    }
}
