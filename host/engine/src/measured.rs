//! What the running host says of itself: metrics, counted when somebody asks.

use std::collections::BTreeMap;

use keywheel_metrics::{Expiry, Snapshot};
use keywheel_schedule::Planned;

use crate::Error;
use crate::engine::Engine;

impl Engine {
    /// What is counted now, beside what [`Engine::metrics`] has counted since the start. Reads what `status` reads.
    ///
    /// # Errors
    /// The store or the vault cannot be read.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let inner = &self.inner;
        let mut open = BTreeMap::<&'static str, u64>::new();
        for run in self.open_runs().await? {
            *open.entry(run.state.as_str()).or_default() += 1;
        }
        let audit_rows = inner
            .store
            .read(|reader| Ok::<_, Error>(reader.audit_checkpoint()?.seq))
            .await?;
        let sealed = inner.vault.is_sealed();
        Ok(Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            rotations: u64::try_from(inner.config.count()).unwrap_or(u64::MAX),
            open_runs: open.into_iter().collect(),
            attention: u64::try_from(self.status().await?.len()).unwrap_or(u64::MAX),
            sealed,
            backed_up: inner.backed_up_at().await?,
            audit_rows,
            commits: self.store_statistics().commits,
            spans: inner.traces.counts(),
            // Of a sealed vault nobody knows.
            expiries: if sealed {
                Vec::new()
            } else {
                self.expiries().await?
            },
        })
    }

    async fn expiries(&self) -> Result<Vec<Expiry>, Error> {
        let mut all = Vec::new();
        for rotation in &self.inner.config.rotations {
            // One that cannot be started now, for its plugin or trust set is lost, is in what needs attention.
            let Ok(facts) = self.facts(&rotation.name).await else {
                continue;
            };
            let plan = rotation.schedule.plan(&rotation.name);
            let renews = match plan.next(&facts, self.inner.clock.now()) {
                Planned::Due(next) => Some(next.due),
                Planned::Idle(_) | Planned::Blocked(_) => None,
            };
            all.push(Expiry {
                secret: Some(rotation.secret.clone()),
                expires: facts.expires,
                renews,
            });
        }
        if self.inner.config.name_secrets {
            return Ok(all);
        }
        let earliest = Expiry {
            secret: None,
            expires: all.iter().filter_map(|one| one.expires).min(),
            renews: all.iter().filter_map(|one| one.renews).min(),
        };
        Ok(vec![earliest])
    }
}
