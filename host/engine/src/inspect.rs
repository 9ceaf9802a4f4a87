//! What needs attention.

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
use crate::view::{Attention, RunView, VaultView};
use crate::words::KEY_FILE_IS_GONE;

/// How the machine begins to tell of an adoption whose plan found what would stop a rotation.
pub(crate) const UNROTATABLE: &str = "adopted; it cannot be rotated yet";

impl Engine {
    /// What needs attention, sorted by the time to harm; what has no such time comes first. While the vault is sealed nothing is said of secrets but when they expire.
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
        self.attention_of_expiries(&mut list).await?;
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
            Some(_) => {
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

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
