//! What needs attention, and what is wrong with the host.

use std::sync::Arc;

use keywheel_config::Rotation;
use keywheel_model::{Epoch, PluginName, RotationName, RunId, Stage, Trigger, VersionId};
use keywheel_plugin::shown;
use keywheel_vault::{Head, Vault as _};
use keywheel_workflow::RunWord;

use crate::Error;
use crate::attention::{attention, attention_of_run, harm_of};
use crate::backed_up;
use crate::engine::{Engine, Inner};
use crate::interrupted::Interrupted;
use crate::perform::head::kept;
use crate::trust::examine_trust_file;
use crate::view::{Attention, Diagnosis, RunView, VaultView};
use crate::words::{KEY_FILE_IS_GONE, NEEDS_PASSPHRASE};

/// How the machine begins to tell of an adoption whose plan found what would stop a rotation.
pub(crate) const UNROTATABLE: &str = "adopted; it cannot be rotated yet";

impl Engine {
    /// What needs attention, sorted by the time to harm; what has no such time comes first. While the vault is sealed nothing is said of secrets.
    ///
    /// # Errors
    /// The store; a state that cannot be read.
    pub async fn status(&self) -> Result<Vec<Attention>, Error> {
        let mut list = Vec::new();
        if let Some(path) = self.missing_key_file() {
            let what = format!(
                "it is sealed, for its key file \"{}\" is not there: nothing can be rotated",
                path.display()
            );
            list.push(attention("vault-sealed", "vault", &what, KEY_FILE_IS_GONE));
        }
        if let Some(restore) = Interrupted::find(&self.inner.config) {
            list.push(attention(
                "restore-interrupted",
                "state",
                &restore.words(),
                &restore.way_out(),
            ));
        }
        list.extend(self.attention_of_disk());
        list.extend(self.attention_of_standing());
        list.extend(self.attention_of_clock().await?);
        list.extend(self.attention_of_maintenance().await?);
        for run in self.open_runs().await? {
            list.extend(attention_of_run(&run, self.inner.is_driven(&run.run)));
        }
        if let Some(what) = self.inner.backup_is_late().await? {
            list.push(attention("backup-late", "backup", &what, backed_up::WAY_OUT));
        }
        self.attention_of_trust(&mut list);
        self.attention_of_plugins(&mut list);
        let mut rotations = self.inner.config.rotations.clone();
        rotations.extend(self.troubled(&mut list).await?);
        self.attention_of_ends(&rotations, &mut list).await?;
        if !self.inner.vault.is_sealed() {
            self.attention_of_secrets(&rotations, &mut list).await;
        }
        list.sort_by_key(harm_of);
        Ok(list)
    }

    /// Rotations whose newest run came to nothing, or adopted what cannot be rotated: nothing else would tell before the next one.
    async fn attention_of_ends(
        &self,
        rotations: &[Arc<Rotation>],
        list: &mut Vec<Attention>,
    ) -> Result<(), Error> {
        for rotation in rotations {
            let newest = self.runs(Some(&rotation.name), 1).await?.into_iter().next();
            let Some(run) =
                newest.filter(|run| run.trigger != Trigger::Adopt || run.state != RunWord::Failed)
            else {
                continue;
            };
            let subject = format!("rotation {}", rotation.name);
            let (run_id, detail) = (&run.run, &run.detail);
            if run.state == RunWord::Failed {
                let code = run.last_failure().map(|failure| format!("{}: ", failure.code));
                let code = code.unwrap_or_default();
                let past = run.way_past.as_ref().map(|way_past| format!("{way_past}; then "));
                let past = past.unwrap_or_default();
                let what = format!("its last run {run_id} failed: {code}{detail}");
                list.push(attention(
                    "run-failed",
                    &subject,
                    &what,
                    &format!("{past}`keywheel plan {}`", rotation.name),
                ));
            } else if run.state == RunWord::GivenUp {
                let way_out = format!(
                    "`keywheel plan {0}`, then `keywheel rotate {0}`: it proves the current credential first",
                    rotation.name
                );
                list.push(attention(
                    "run-given-up",
                    &subject,
                    &format!("its last run {run_id} was {detail}"),
                    &way_out,
                ));
            } else if is_unrotatable(&run) && !self.inner.is_mended(run_id).await? {
                let way_out = format!(
                    "mend that; a `keywheel plan {}` that finds nothing ends this",
                    rotation.name
                );
                list.push(attention("rotation-unfit", &subject, detail, &way_out));
            }
        }
        Ok(())
    }

    /// What a plan has found of a rotation: what its adoption said would stop it is so no more, or is again.
    pub(crate) async fn note_plan(&self, rotation: &RotationName, is_fit: bool) -> Result<(), Error> {
        let newest = self.runs(Some(rotation), 1).await?.into_iter().next();
        let Some(run) = newest.filter(is_unrotatable) else {
            return Ok(());
        };
        if self.inner.is_mended(&run.run).await? == is_fit {
            return Ok(());
        }
        let key = mended_key(&run.run);
        self.inner
            .store
            .write(move |tx| Ok::<_, Error>(tx.set_meta(&key, if is_fit { "yes" } else { "" })?))
            .await
    }

    /// A version that no run has revoked, where none is under way that will, and two live beside each other.
    async fn left_alive(&self, rotation: &Rotation, head: &Head) -> Result<Option<VersionId>, Error> {
        let Ok(plugin) = self.inner.plugin(&rotation.plugin) else {
            return Ok(None);
        };
        let settings = Inner::settings(rotation, &plugin, Trigger::Manual, Epoch(0))?;
        if settings.overwrites() || self.open_run_of(&rotation.secret).await?.is_some() {
            return Ok(None);
        }
        let accounts = crate::settings::principals(rotation, plugin.manifest());
        let head = self.inner.without_strangers(head.clone(), &accounts).await?;
        let versions = kept(&head);
        let left = versions.iter().find(|kept| kept.stage == Stage::Previous);
        Ok(left.map(|kept| kept.version.clone()))
    }

    /// Files of trust sets that verify nothing: no connection that needs them is made.
    fn attention_of_trust(&self, list: &mut Vec<Attention>) {
        for (name, set) in &self.inner.config.trust {
            for path in &set.pem {
                if let Err((what, way_out)) = examine_trust_file(path) {
                    let what = format!("\"{}\" {what}", path.display());
                    list.push(attention(
                        "trust-lost",
                        &format!("trust set {name}"),
                        &what,
                        &way_out,
                    ));
                }
            }
        }
    }

    /// Plugin files that need a person, and whom they stop.
    fn attention_of_plugins(&self, list: &mut Vec<Attention>) {
        let plugins = self.plugins();
        for plugin in &plugins {
            if !matches!(plugin.status, "held" | "refused" | "missing" | "new") {
                continue;
            }
            let name = plugin.name.as_ref();
            let subject = name.map_or_else(|| shown(&plugin.file), ToString::to_string);
            let what = match plugin.status {
                "refused" => "its file is refused".to_owned(),
                "missing" => format!("its file is missing{}", self.stopped_by(name)),
                word => word.to_owned(),
            };
            let kind = match plugin.status {
                "held" => "plugin-held",
                "refused" => "plugin-refused",
                "missing" => "plugin-missing",
                _ => "plugin-new",
            };
            list.push(attention(
                kind,
                &format!("plugin {subject}"),
                &what,
                &plugin.detail,
            ));
        }
        for rotation in self.inner.config.samples() {
            if plugins
                .iter()
                .all(|plugin| plugin.name.as_ref() != Some(&rotation.plugin))
            {
                let what = format!("there is no plugin {}: it cannot be rotated", rotation.plugin);
                let way_out = "`keywheel config check` says where its name stands, and what to do";
                list.push(attention(
                    "plugin-unknown",
                    &format!("rotation {}", rotation.name),
                    &what,
                    way_out,
                ));
            }
        }
    }

    fn stopped_by(&self, plugin: Option<&PluginName>) -> String {
        let stopped: Vec<_> = self
            .inner
            .config
            .samples()
            .filter(|rotation| Some(&rotation.plugin) == plugin)
            .map(|rotation| rotation.name.as_str())
            .collect();
        match stopped.as_slice() {
            [] => String::new(),
            names => format!(": {} cannot be rotated", names.join(", ")),
        }
    }

    async fn attention_of_secrets(&self, rotations: &[Arc<Rotation>], list: &mut Vec<Attention>) {
        for rotation in rotations {
            // What cannot be read of one is no reason to say nothing of the others.
            if let Err(error) = self.attention_of_secret(rotation, list).await {
                list.push(attention(
                    "rotation-unreadable",
                    &format!("rotation {}", rotation.name),
                    &format!(
                        "what is known of it cannot be read ({}): {}",
                        error.code(),
                        chain(&error)
                    ),
                    &error.hint().unwrap_or_else(|| "keywheel doctor".to_owned()),
                ));
            }
        }
    }

    async fn attention_of_secret(&self, rotation: &Rotation, list: &mut Vec<Attention>) -> Result<(), Error> {
        list.extend(self.attention_of_schedule(rotation).await?);
        list.extend(self.attention_of_life(rotation).await?);
        let head = self.inner.vault.live(&rotation.secret, &[]).await?;
        let subject = format!("secret {}", rotation.secret);
        match head.current() {
            // While an import is being verified, its run is what needs attention.
            None if self.open_run_of(&rotation.secret).await?.is_some() => {}
            None => list.push(attention(
                "secret-missing",
                &subject,
                "it has no current version: the credential in use is not imported",
                &format!("keywheel secret import {}", rotation.secret),
            )),
            Some(current) => {
                if self.is_to_be_verified(&rotation.secret).await? {
                    list.push(attention(
                        "secret-restored",
                        &subject,
                        "the state was restored, and this secret has not been verified since",
                        &format!("keywheel drift check {}", rotation.name),
                    ));
                }
                if let Some(left) = self.left_alive(rotation, &head).await? {
                    list.push(attention(
                        "secret-left-alive",
                        &subject,
                        &format!("version {left} was not revoked: the target may take it still"),
                        &format!("keywheel rotate {}", rotation.name),
                    ));
                }
                if let Some(untried) = self.inner.untried(rotation).await? {
                    list.push(attention(
                        "secret-untried",
                        &subject,
                        &untried.in_short(),
                        &format!("keywheel target test {}", rotation.name),
                    ));
                }
                if let Some(expires) = current.metadata.expires
                    && self.next_due(rotation).await?.is_none_or(|due| due >= expires)
                {
                    let what = "its current version expires";
                    let way_out = format!("keywheel rotate {}", rotation.name);
                    list.push(Attention {
                        harm_at: Some(expires),
                        ..attention("secret-expires", &subject, what, &way_out)
                    });
                }
            }
        }
        Ok(())
    }

    /// The vault's state.
    ///
    /// # Errors
    /// The store.
    pub async fn vault_view(&self) -> Result<VaultView, Error> {
        let epoch = self
            .inner
            .store
            .read_here(|reader| Ok::<_, Error>(reader.epoch()?))
            .await?;
        let slots = self.inner.vault.slots().await?;
        Ok(VaultView {
            kind: "embedded",
            sealed: self.inner.vault.is_sealed(),
            needs_passphrase: self.needs_passphrase(),
            epoch,
            slots: slots.into_iter().map(|slot| (slot.kind, slot.id)).collect(),
        })
    }

    /// Looks at everything that a host stands on.
    ///
    /// # Errors
    /// The store cannot even be read.
    pub async fn diagnose(&self) -> Result<Vec<Diagnosis>, Error> {
        let mut found = vec![match self.inner.store.check().await {
            Ok(()) => healthy("store", "the database is sound".to_owned()),
            Err(error) => sick("store", error.to_string(), error.hint()),
        }];
        found.push(if let Some(path) = self.missing_key_file() {
            sick(
                "vault",
                format!("it is sealed: its key file \"{}\" is not there", path.display()),
                Some(KEY_FILE_IS_GONE.to_owned()),
            )
        } else if self.inner.vault.is_sealed() {
            healthy("vault", NEEDS_PASSPHRASE.to_owned())
        } else {
            healthy("vault", "it is open".to_owned())
        });
        found.extend(Interrupted::find(&self.inner.config).map(|restore| Diagnosis {
            result: "warning",
            advice: Some(restore.way_out()),
            ..healthy("state", restore.words())
        }));
        self.diagnose_slots(&mut found).await?;
        self.diagnose_records(&mut found).await;
        found.push(self.diagnose_trail().await);
        self.diagnose_plugins(&mut found);
        found.push(match self.inner.policy().await {
            Ok(policy) => healthy("grants", format!("{} can be read", policy.grants().len())),
            Err(error) => sick("grants", chain(&error), error.hint()),
        });
        let open = self.open_runs().await?;
        found.push(if open.is_empty() {
            healthy("runs", "none is open".to_owned())
        } else {
            Diagnosis {
                result: "warning",
                advice: Some("keywheel status".to_owned()),
                ..healthy("runs", open_words(open.len()))
            }
        });
        Ok(found)
    }

    async fn diagnose_slots(&self, found: &mut Vec<Diagnosis>) -> Result<(), Error> {
        for slot in self.inner.vault.slots().await? {
            if let Some(fault) = slot.fault {
                found.push(sick(
                    "vault",
                    format!("slot {}: {fault}", slot.id),
                    Some("open the vault by another slot and add a new one".to_owned()),
                ));
            }
        }
        Ok(())
    }

    /// Whether every record still opens: the database may be sound, and what is in it not.
    async fn diagnose_records(&self, found: &mut Vec<Diagnosis>) {
        let records = match self.inner.vault.check_records().await {
            Ok(records) => records,
            Err(keywheel_vault::Error::Sealed) => {
                return found.push(Diagnosis {
                    result: "warning",
                    advice: Some(
                        "run `keywheel doctor` on a terminal: it asks for the passphrase".to_owned(),
                    ),
                    ..healthy("records", "no record was opened: the vault is sealed".to_owned())
                });
            }
            Err(error) => return found.push(sick("records", chain(&error), error.hint())),
        };
        if records.faulty == 0 {
            return found.push(healthy("records", format!("{} open", records.sound)));
        }
        for fault in &records.faults {
            let detail = format!("{}: {} ({})", fault.error.code(), chain(&fault.error), fault.what);
            found.push(sick("records", detail, fault.error.hint()));
        }
        let detail = format!("{} open, {} do not", records.sound, records.faulty);
        found.push(sick("records", detail, None));
    }

    async fn diagnose_trail(&self) -> Diagnosis {
        match self.audit_verify(Vec::new(), None).await {
            Ok(report) => match report.sealed_to {
                Some(_) => healthy(
                    "audit",
                    format!("{} rows hold together, each with its seal", report.rows),
                ),
                None => Diagnosis {
                    result: "warning",
                    advice: Some("`keywheel audit verify` opens the vault and checks them".to_owned()),
                    ..healthy(
                        "audit",
                        format!("{} rows hold together; no seal was checked", report.rows),
                    )
                },
            },
            Err(error) => sick("audit", chain(&error), error.hint()),
        }
    }

    fn diagnose_plugins(&self, found: &mut Vec<Diagnosis>) {
        for plugin in self.plugins() {
            let name = plugin
                .name
                .as_ref()
                .map_or_else(|| shown(&plugin.file), ToString::to_string);
            found.push(match plugin.status {
                "pinned" => healthy("plugin", format!("{name} is pinned")),
                "refused" => sick("plugin", format!("{name}: {}", plugin.detail), None),
                status => Diagnosis {
                    result: "warning",
                    advice: Some(plugin.detail),
                    ..healthy("plugin", format!("{name} is {status}"))
                },
            });
        }
    }
}

impl Inner {
    /// Whether a plan has found nothing any more of what an adoption said would stop a rotation.
    async fn is_mended(&self, run: &RunId) -> Result<bool, Error> {
        let key = mended_key(run);
        let read = move |reader: &keywheel_store::Reader<'_>| Ok::<_, Error>(reader.meta(&key)?);
        Ok(self.store.read(read).await?.is_some_and(|word| !word.is_empty()))
    }
}

fn mended_key(run: &RunId) -> String {
    format!("mended-{run}")
}

fn is_unrotatable(run: &RunView) -> bool {
    run.state == RunWord::Succeeded && run.detail.starts_with(UNROTATABLE)
}

fn open_words(count: usize) -> String {
    format!("{count} {} open", if count == 1 { "is" } else { "are" })
}

fn healthy(check: &'static str, detail: String) -> Diagnosis {
    Diagnosis {
        check,
        result: "ok",
        detail,
        advice: None,
    }
}

fn sick(check: &'static str, detail: String, advice: Option<String>) -> Diagnosis {
    Diagnosis {
        check,
        result: "failure",
        detail,
        advice,
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
