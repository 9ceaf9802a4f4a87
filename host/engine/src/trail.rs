//! What the audit trail says, and whether it is what it was.

use std::collections::BTreeSet;

use keywheel_audit::{Checkpoint, Entry, Exported, PublicKey, Signer};
use keywheel_model::{RunId, Timestamp};
use keywheel_store::{AuditFilter, Reader, Transaction};
use keywheel_vault::Embedded;
use serde::Serialize;

use crate::Error;
use crate::actor::actor;
use crate::engine::Engine;
use crate::view::AuditView;

/// Which rows of the audit trail are wanted. Everything unset: all.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only of this resource: a secret's, rotation's or plugin's name.
    pub resource: Option<String>,
    /// Only what touched this secret: rows of it, uses of it by plugins, what was asked of its runs.
    pub secret: Option<String>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only in this run.
    pub run: Option<RunId>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Only rows with greater numbers.
    pub after: u64,
    /// Only rows with smaller numbers.
    pub before: Option<u64>,
    /// The oldest row first, instead of the newest.
    pub oldest_first: bool,
    /// Most rows.
    pub limit: u32,
}

/// A name that was searched for, and that the host does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What it should be the name of: `secret`, `resource`, `actor`, `action`, `run`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// Those that it knows.
    pub known: Vec<String>,
}

/// The trail holds together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditReport {
    /// Rows that were checked.
    pub rows: u64,
    /// The last row that was cut off before them; none: the trail is whole.
    pub cut: Option<u64>,
    /// The last row whose seal was checked: none while the vault is sealed, else every row must have one.
    pub sealed_to: Option<u64>,
    /// Exported heads that the trail was checked against.
    pub checkpoints: usize,
    /// The head now.
    pub head: Checkpoint,
}

/// A head of the trail, signed: what an operator ships away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SignedCheckpoint {
    /// What it says.
    pub head: Checkpoint,
    /// The key that checks its signature.
    pub public_key: PublicKey,
    /// The file.
    pub file: String,
}

impl Engine {
    /// Whether a checkpoint is of this trail: it has that row, or has cut it off. One that is not proves that this is another state, or an older copy.
    ///
    /// # Errors
    /// The store.
    pub async fn is_of_this_trail(&self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        let (seq, hash, store) = (checkpoint.seq, checkpoint.hash, checkpoint.store.clone());
        self.inner
            .store
            .read(move |reader| {
                if store != reader.audit_checkpoint()?.store {
                    return Ok(false);
                }
                let Some(before) = seq.checked_sub(1) else {
                    return Ok(true);
                };
                let from = AuditFilter {
                    after: before,
                    ..AuditFilter::default()
                };
                let found = reader.audit_rows(&from, 1)?;
                Ok::<_, Error>(found.first().is_some_and(|row| row.seq > seq || row.hash == hash))
            })
            .await
    }

    /// Rows of the audit trail, newest first unless the query says otherwise.
    ///
    /// # Errors
    /// The store.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditView>, Error> {
        let AuditQuery {
            resource,
            secret,
            actor,
            action,
            run,
            from,
            to,
            after,
            before,
            oldest_first,
            limit,
        } = query;
        let filter = AuditFilter {
            resource,
            secret,
            actor,
            action,
            run,
            from,
            to,
            after,
            before,
            newest_first: !oldest_first,
        };
        let rows = self
            .inner
            .store
            .read(move |reader| Ok::<_, Error>(reader.audit_rows(&filter, limit)?))
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| AuditView {
                seq: row.seq,
                at: row.at,
                actor: row.actor,
                action: row.action,
                resource: row.resource,
                outcome: row.outcome,
                run: row.run.and_then(|run| run.parse().ok()),
                details: serde_json::from_str(&row.details).unwrap_or(serde_json::Value::Null),
            })
            .collect())
    }

    /// Of a search that has found nothing: the names in it that the host does not know at all, each with those that it knows.
    ///
    /// # Errors
    /// The store.
    pub async fn audit_names(&self, query: &AuditQuery) -> Result<Vec<UnknownName>, Error> {
        let trail = self
            .inner
            .store
            .read(|reader| Ok::<_, Error>(reader.audit_names()?))
            .await?;
        let config = &self.inner.config;
        let mut secrets: BTreeSet<String> = trail.secrets.into_iter().collect();
        let mut resources: BTreeSet<String> = trail.resources.into_iter().collect();
        for rotation in config.samples() {
            secrets.insert(rotation.secret.to_string());
            secrets.extend(rotation.inputs.values().map(ToString::to_string));
            resources.extend([rotation.name.to_string(), rotation.plugin.to_string()]);
        }
        resources.extend(secrets.iter().cloned());
        let asked = [
            ("secret", query.secret.clone(), secrets),
            ("resource", query.resource.clone(), resources.clone()),
            ("actor", query.actor.clone(), trail.actors.into_iter().collect()),
            (
                "action",
                query.action.clone(),
                trail.actions.into_iter().collect(),
            ),
            (
                "run",
                query.run.as_ref().map(ToString::to_string),
                trail.runs.into_iter().collect(),
            ),
        ];
        let unknown = asked.into_iter().filter_map(|(kind, name, known)| {
            let name =
                name.filter(|name| !(known.contains(name) || kind == "secret" && resources.contains(name)))?;
            // Nobody mistypes one run's id for another's.
            let known = if kind == "run" {
                Vec::new()
            } else {
                known.into_iter().collect()
            };
            Some(UnknownName { kind, name, known })
        });
        Ok(unknown.collect())
    }

    /// The key that checks the signatures of this host's checkpoints. It lasts as long as the vault's keys.
    ///
    /// # Errors
    /// The vault is sealed.
    pub fn audit_public_key(&self) -> Result<PublicKey, Error> {
        Ok(signer(&self.inner.vault)?.public_key())
    }

    /// Signs the head of the trail as it is now, which was checked with its seals before: a signature is all that whoever has no key goes by. With `note`
    /// the trail itself says so, in a row that is the head then.
    ///
    /// # Errors
    /// The vault is sealed; [`Error::Audit`] naming the first bad row; the store.
    pub async fn audit_checkpoint(&self, note: bool) -> Result<SignedCheckpoint, Error> {
        let signer = signer(&self.inner.vault)?;
        self.audit_verify(Vec::new(), None).await?;
        let head = if note {
            let entry = Entry::of_host("audit.checkpoint", "audit", "ok").by(actor());
            let write = move |tx: &Transaction<'_>| {
                tx.audit(&entry)?;
                Ok::<_, Error>(tx.audit_checkpoint()?)
            };
            self.inner.store.write(write).await?
        } else {
            let read = |reader: &Reader<'_>| Ok::<_, Error>(reader.audit_checkpoint()?);
            self.inner.store.read(read).await?
        };
        Ok(SignedCheckpoint {
            public_key: signer.public_key(),
            file: signer.export(&head),
            head,
        })
    }

    /// Checks the whole trail, and against heads that were exported before. Of those that are signed, `trusted` must have signed them, or,
    /// without it, this vault.
    ///
    /// # Errors
    /// [`Error::Audit`] naming the first bad row, or why a checkpoint is not believed; [`Error::Behind`].
    pub async fn audit_verify(
        &self,
        exported: Vec<Exported>,
        trusted: Option<PublicKey>,
    ) -> Result<AuditReport, Error> {
        let believed = exported.into_iter().map(|one| self.believe(one, trusted));
        let checkpoints = believed.collect::<Result<Vec<_>, _>>()?;
        let keys = if self.inner.vault.is_sealed() {
            None
        } else {
            Some(self.inner.vault.audit_keys().await?)
        };
        let count = checkpoints.len();
        let (report, checkpoints) = self
            .inner
            .store
            .read(move |reader| {
                let (past, now) = match &keys {
                    Some(keys) => (keys.past.as_slice(), Some(&keys.now)),
                    None => (&[][..], None),
                };
                let report = match reader.audit_verify_since(past, now, &checkpoints)? {
                    Ok(report) => Ok((report, reader.audit_checkpoint()?)),
                    Err(error) => Err(error),
                };
                Ok::<_, Error>((report, checkpoints))
            })
            .await?;
        let (report, head) = match report {
            Ok(sound) => sound,
            Err(error) => return Err(self.inner.trail_is_broken(error, &checkpoints).await?),
        };
        Ok(AuditReport {
            rows: report.rows,
            cut: Some(report.cut).filter(|cut| *cut > 0),
            sealed_to: report.sealed_to,
            checkpoints: count,
            head,
        })
    }

    fn believe(&self, exported: Exported, trusted: Option<PublicKey>) -> Result<Checkpoint, Error> {
        match (trusted, exported.signed_by) {
            (Some(trusted), _) => Ok(exported.trusting(trusted)?),
            (None, Some(_)) => Ok(exported.trusting(self.audit_public_key()?)?),
            (None, None) => Ok(exported.checkpoint),
        }
    }
}

/// What signs checkpoints. It is derived from the vault's root key and is in no file: who opens no key slot signs nothing.
pub(crate) fn signer(vault: &Embedded) -> Result<Signer, Error> {
    Ok(Signer::from_seed(&vault.sub_key("audit-signature")?)?)
}
