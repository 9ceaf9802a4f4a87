//! The plugin runtime by itself: one step on a fresh instance, and a plugin loaded from the compile cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keywheel_capability::capability::{Capabilities, Settings};
use keywheel_capability::http::HttpSettings;
use keywheel_capability::net::NetSettings;
use keywheel_capability::sql::SqlSettings;
use keywheel_capability::{Cancel, StepContext};
use keywheel_engine::SystemClock;
use keywheel_model::{Clock as _, Epoch, Outcome, RunId, SecretBytes, SecretName, StepName, Trigger};
use keywheel_plugin::{
    CacheOptions, Limits, Places, Plugin, Registry, Rules, Runtime, RuntimeOptions, StepValue,
};
use keywheel_policy::Policy;
use keywheel_target::Outbound;
use keywheel_target::dial::Dialer;
use keywheel_target::postgres::{Pool, PoolLimits};
use keywheel_target::tls::TrustStore;
use serde_json::json;

use crate::Scale;
use crate::port::Immediate;
use crate::sample::{Spread, as_microseconds, microseconds};
use crate::table::Row;

const STEP_TARGET_US: f64 = 150.0;
const LOAD_TARGET_US: f64 = 1_000.0;

/// A folder with the shipped PostgreSQL plugin, pinned.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new(plugin: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["plugins", "policies"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        std::fs::copy(plugin, folder.path().join("plugins/postgres.wasm"))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn runtime(&self, cached: bool) -> Result<Arc<Runtime>> {
        let cache = cached.then(|| CacheOptions {
            folder: self.path("compiled"),
            key: SecretBytes::copy_of(&[7; 32]),
        });
        let limits = Limits::default();
        Ok(Runtime::new(RuntimeOptions { limits, cache })?)
    }

    fn places(&self) -> Places {
        Places {
            plugins: self.path("plugins"),
            lock: self.path("plugins.lock"),
            grants: self.path("policies"),
            kept: self.path("kept"),
        }
    }

    fn scan(&self, runtime: &Arc<Runtime>) -> Result<Registry> {
        Ok(Registry::scan(runtime, self.places(), Rules::default())?)
    }

    fn policy(&self) -> Result<Policy> {
        let text = std::fs::read_to_string(self.path("policies/postgres.toml"))?;
        Ok(Policy::load([("postgres.toml", text.as_str())])?)
    }
}

/// A step of a Rust guest on a fresh instance: `create` of the shipped PostgreSQL plugin, which makes more than five host calls.
pub(crate) async fn step(plugin: &Path, scale: Scale) -> Result<Vec<Row>> {
    let folder = Folder::new(plugin)?;
    let runtime = folder.runtime(true)?;
    let registry = folder.scan(&runtime)?;
    let name = "postgres".parse()?;
    registry.add(&registry.addition(&name, &[])?)?;
    let registry = folder.scan(&runtime)?;
    let plugin = registry.plugin(&name)?;
    let bench = Step::new(plugin, folder.policy()?)?;
    let (_, calls) = bench.once().await?;
    let mut medians = Vec::new();
    for round in 0..=scale.rounds {
        let mut spans = Vec::new();
        for _ in 0..scale.steps {
            spans.push(as_microseconds(bench.once().await?.0));
        }
        // The first round warms up.
        if round > 0 {
            medians.push(Spread::of(spans).median);
        }
    }
    let medians = Spread::of(medians);
    Ok(vec![
        Row::new(
            format!("fresh instance and one step of {calls} host calls (Rust guest), median"),
            medians.shown(microseconds),
        )
        .target("<= 150 us (5 calls)", medians.median <= STEP_TARGET_US),
    ])
}

/// One step, again and again.
struct Step {
    plugin: Arc<Plugin>,
    policy: Arc<Policy>,
    capabilities: Capabilities,
    secret: SecretName,
    config: Arc<serde_json::Value>,
}

impl Step {
    fn new(plugin: Arc<Plugin>, policy: Policy) -> Result<Self> {
        let outbound = Arc::new(Outbound::new(Dialer::system(), TrustStore::new()));
        let sql = SqlSettings {
            outbound: Arc::clone(&outbound),
            pool: Arc::new(Pool::new(PoolLimits::default())),
        };
        let net = NetSettings {
            outbound: Arc::clone(&outbound),
        };
        let http = HttpSettings { outbound };
        let config =
            json!({"mode": "role", "host": "db.internal", "port": 5432, "admin": "rotator", "role": "app"});
        Ok(Self {
            plugin,
            policy: Arc::new(policy),
            capabilities: Capabilities::configure(Settings { sql, net, http })?,
            secret: "app/db".parse()?,
            config: Arc::new(config),
        })
    }

    fn context(&self) -> Result<StepContext> {
        Ok(StepContext {
            run: RunId::from_number(7),
            rotation: "app-db".parse()?,
            secret: self.secret.clone(),
            trigger: Trigger::Manual,
            step: StepName::Create,
            attempt: 1,
            interrupted: false,
            epoch: Epoch::default(),
            restored: false,
            deadline: SystemClock.now() + Duration::from_mins(1),
            config: Arc::clone(&self.config),
            public_parts: BTreeSet::new(),
            manifest: Arc::clone(self.plugin.manifest()),
            policy: Arc::clone(&self.policy),
            inputs: BTreeMap::new(),
            sub_key: SecretBytes::copy_of(&[7; 32]),
            watched: Vec::new(),
            port: Arc::new(Immediate {
                secret: self.secret.clone(),
            }),
            clock: Arc::new(SystemClock),
            cancel: Cancel::new().1,
        })
    }

    /// How long it took and how many host calls it made.
    async fn once(&self) -> Result<(Duration, u32)> {
        let context = self.context()?;
        let begun = Instant::now();
        let end = self.plugin.run(self.capabilities.prepare(context)).await;
        let took = begun.elapsed();
        match end.result {
            Ok(StepValue::Outcome(Outcome::Done)) => Ok((took, end.seen.host_calls)),
            other => bail!("the measured step did not end well: {other:?}"),
        }
    }
}

/// One plugin from the compile cache; the folder around it; and beside both the same where it has to be compiled.
pub(crate) fn load(plugin: &Path, scale: Scale) -> Result<Vec<Row>> {
    let folder = Folder::new(plugin)?;
    let (cached, compiling) = (folder.runtime(true)?, folder.runtime(false)?);
    let registry = folder.scan(&cached)?;
    let name = "postgres".parse()?;
    let addition = registry.addition(&name, &[])?;
    registry.add(&addition)?;
    let digest = *folder.scan(&cached)?.plugin(&name)?.digest();
    // With an empty folder a pinned plugin is loaded from the host's own copy, each time anew.
    let empty = Folder {
        folder: tempfile::tempdir()?,
    };
    std::fs::create_dir(empty.path("plugins"))?;
    let places = |plugins: &Folder| Places {
        plugins: plugins.path("plugins"),
        ..folder.places()
    };
    let without = |runtime| Registry::scan(runtime, places(&empty), Rules::default());
    let (from_cache, compiled) = (without(&cached)?, without(&compiling)?);
    let one = |registry: &Registry| -> Result<f64> {
        let begun = Instant::now();
        registry.pinned(&digest).context("the plugin is not loaded")?;
        Ok(as_microseconds(begun.elapsed()))
    };
    let scan = |runtime: &Arc<Runtime>| -> Result<f64> {
        let begun = Instant::now();
        let registry = folder.scan(runtime)?;
        let took = as_microseconds(begun.elapsed());
        registry.plugin(&name).context("the plugin is not loaded")?;
        Ok(took)
    };
    let median = |measure: &dyn Fn() -> Result<f64>| -> Result<f64> {
        let spans = (0..scale.loads).map(|_| measure()).collect::<Result<Vec<_>>>()?;
        Ok(Spread::of(spans).median)
    };
    let (mut warm, mut cold, mut scans, mut cold_scans) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=scale.rounds {
        let figures = [
            one(&compiled)?,
            median(&|| one(&from_cache))?,
            scan(&compiling)?,
            median(&|| scan(&cached))?,
        ];
        // The first round warms up.
        if round > 0 {
            for (kept, figure) in [&mut cold, &mut warm, &mut cold_scans, &mut scans]
                .into_iter()
                .zip(figures)
            {
                kept.push(figure);
            }
        }
    }
    let row = |what: &str, cached: Vec<f64>, anew: Vec<f64>| {
        let (cached, anew) = (Spread::of(cached), Spread::of(anew));
        let beside = (
            format!("{} compiled anew", microseconds(anew.median)),
            format!("{:.2} %", cached.median / anew.median * 100.0),
        );
        (
            Row::new(what, cached.shown(microseconds)).beside(beside.0, beside.1),
            cached.median,
        )
    };
    let (one, median) = row(
        "load of a cached compiled plugin (postgres.wasm), median",
        warm,
        cold,
    );
    let (whole, _) = row(
        "  and the scan of its folder, with lock file and grant",
        scans,
        cold_scans,
    );
    Ok(vec![one.target("<= 1 ms", median <= LOAD_TARGET_US), whole])
}
