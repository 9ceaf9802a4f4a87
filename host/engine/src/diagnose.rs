//! What is wrong with the host, for `doctor`.

use std::collections::BTreeSet;

use keywheel_config::NotifyKind;
use keywheel_plugin::shown;

use crate::Error;
use crate::approval::reach;
use crate::engine::Engine;
use crate::hooks::examine_program;
use crate::inspect::chain;
use crate::interrupted::Interrupted;
use crate::view::Diagnosis;
use crate::words::{KEY_FILE_IS_GONE, NEEDS_PASSPHRASE};

impl Engine {
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
        found.extend(self.diagnose_approvers());
        found.extend(self.diagnose_sinks().await);
        Ok(found)
    }

    /// Each approver who could not give an approval when one is asked for.
    fn diagnose_approvers(&self) -> Vec<Diagnosis> {
        let approvers: BTreeSet<u32> = self.approvers().collect();
        let socket = &self.inner.config.socket;
        let faults = approvers.into_iter().filter_map(|uid| reach::fault(uid, socket));
        faults
            .map(|(detail, advice)| Diagnosis {
                result: "warning",
                advice: Some(advice),
                ..healthy("approval", detail)
            })
            .collect()
    }

    /// Each sink that could not be told anything: its program cannot be started, a secret that it is reached by is not there.
    async fn diagnose_sinks(&self) -> Vec<Diagnosis> {
        let mut found = Vec::new();
        for sink in &self.inner.config.notify {
            if let NotifyKind::Command { program, .. } = &sink.kind
                && let Err((what, advice)) = examine_program(program)
            {
                let detail = format!("{}: \"{}\" {what}", sink.name, program.display());
                found.push(sick("notify", detail, Some(advice)));
            }
            if self.inner.vault.is_sealed() {
                continue;
            }
            let there = self.inner.versions_of(sink).await;
            let missing = sink
                .secrets()
                .into_iter()
                .filter(|secret| there.iter().all(|(name, _)| name != *secret));
            found.extend(missing.map(|secret| {
                let detail = format!("{}: the secret \"{secret}\" has no current version", sink.name);
                sick("notify", detail, Some(format!("keywheel secret import {secret}")))
            }));
        }
        found
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
