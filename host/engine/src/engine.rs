use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use keywheel_capability::capability::Capabilities;
use keywheel_config::{Config, Place, Rotation, Upgrades, Vault as VaultConfig};
use keywheel_metrics::Metrics;
use keywheel_model::{Clock, PluginName, RotationName, RunId, VersionId};
use keywheel_plugin::{CacheOptions, Places, Plugin, Registry, Runtime, RuntimeOptions};
use keywheel_policy::Policy;
use keywheel_store::{Options, Store};
use keywheel_target::postgres::{Pool, PoolLimits};
use keywheel_traces::Traces;
use keywheel_vault::{Embedded, Unlock};
use tokio::sync::OnceCell;

use crate::actor::actor;
use crate::grants::Grants;
use crate::interrupted::Interrupted;
use crate::journal::Journal;
use crate::listed::{Tables, settle};
use crate::removed::Stray;
use crate::standing::Standing;
use crate::turns::Turns;
use crate::{Error, capabilities};

/// The host's state, opened exclusively: store, vault, plugins, grants. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) vault: Embedded,
    pub(crate) journal: Journal,
    pub(crate) capabilities: Capabilities,
    pub(crate) strays: OnceCell<Vec<Stray>>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Arc<Traces>,
    pub(crate) standing: Arc<Standing>,
    pool: Arc<Pool>,
    grants: Arc<Grants>,
    runtime: Arc<Runtime>,
    registry: RwLock<Arc<Registry>>,
}

impl Engine {
    /// Opens the state directory of a configuration. A second host on it is refused. Where there is none, none is made: that is for
    /// [`crate::Setup`] alone.
    ///
    /// # Errors
    /// [`Error::NoState`];
    /// [`Error::Store`] (in use, newer format, damaged), [`Error::Vault`] (not initialised, wrong key), [`Error::Plugin`] when the plugin
    /// folder itself cannot be trusted. A single bad plugin is listed and stops nothing.
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let store = open_store(&config, Options::new(Arc::clone(&clock))).await?;
        let vault = Embedded::open(store.clone(), key_file(&config)).await?;
        Self::assemble(config, clock, store, vault).await
    }

    /// The same without a look at plugins or trust sets: for reading the vault, which must go on when those are lost.
    ///
    /// # Errors
    /// As [`Self::open`], but for what is not looked at.
    pub async fn open_vault_alone(mut config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        config.trust.clear();
        let store = open_store(&config, Options::new(Arc::clone(&clock))).await?;
        let vault = Embedded::open(store.clone(), key_file(&config)).await?;
        settle(&mut config, &store, &clock, Tables::Look).await?;
        let runtime = start_runtime(&config, &vault)?;
        let registry = Registry::empty(&runtime, places(&config))?;
        Self::with_registry(config, clock, store, vault, runtime, registry)
    }

    /// The key file that the configuration names, if the vault is sealed because there is no such file.
    pub fn missing_key_file(&self) -> Option<&Path> {
        let named = key_file(&self.inner.config).filter(|_| self.inner.vault.is_sealed())?;
        (!named.exists()).then_some(named)
    }

    /// Whether it is sealed because that is how this host is meant to be: no key file is named, and each command asks for the passphrase.
    pub fn needs_passphrase(&self) -> bool {
        self.inner.vault.is_sealed() && key_file(&self.inner.config).is_none()
    }

    pub(crate) async fn assemble(
        mut config: Config,
        clock: Arc<dyn Clock>,
        store: Store,
        vault: Embedded,
    ) -> Result<Self, Error> {
        settle(&mut config, &store, &clock, Tables::Take).await?;
        let runtime = start_runtime(&config, &vault)?;
        let registry = scan(&config, &runtime).await?;
        Self::with_registry(config, clock, store, vault, runtime, registry)
    }

    fn with_registry(
        config: Config,
        clock: Arc<dyn Clock>,
        store: Store,
        vault: Embedded,
        runtime: Arc<Runtime>,
        registry: Registry,
    ) -> Result<Self, Error> {
        let pool = Arc::new(Pool::new(PoolLimits::default()));
        let capabilities = capabilities::configure(&config, Arc::clone(&pool))?;
        let grants = Arc::new(Grants::of(config.policies_dir.clone()));
        let journal = Journal::new(store.clone(), format!("pid {}", std::process::id()));
        let registry = RwLock::new(Arc::new(registry));
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                clock,
                store,
                vault,
                journal,
                capabilities,
                strays: OnceCell::new(),
                turns: Arc::default(),
                metrics: Arc::default(),
                traces: Arc::default(),
                standing: Arc::default(),
                pool,
                grants,
                runtime,
                registry,
            }),
        })
    }

    /// The configuration that it was opened with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The same state under another configuration, for what begins from now on; what runs goes on under the one that it began with.
    ///
    /// # Errors
    /// It names another state or another vault; its plugin folder cannot be trusted. What was there before is not touched.
    pub async fn with_config(&self, mut config: Config) -> Result<Self, Error> {
        let old = &self.inner;
        for (key, same) in [
            ("dir` of `[state]", config.state_dir == old.config.state_dir),
            ("[vault]", config.vault == old.config.vault),
            ("[limits]", config.limits == old.config.limits),
            ("socket` of `[serve]", config.socket == old.config.socket),
            ("http` of `[serve]", config.http == old.config.http),
            ("[traces]", config.traces == old.config.traces),
        ] {
            if !same {
                return Err(Error::NeedsRestart { key });
            }
        }
        let registry = scan(&config, &old.runtime).await?;
        let grants = Arc::new(Grants::of(config.policies_dir.clone()));
        let capabilities = capabilities::configure(&config, Arc::clone(&old.pool))?;
        // Last, for what is accepted counts.
        settle(&mut config, &old.store, &old.clock, Tables::Take).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                capabilities,
                grants,
                clock: Arc::clone(&old.clock),
                store: old.store.clone(),
                vault: old.vault.clone(),
                journal: old.journal.clone(),
                strays: OnceCell::new(),
                turns: Arc::clone(&old.turns),
                metrics: Arc::clone(&old.metrics),
                traces: Arc::clone(&old.traces),
                standing: Arc::clone(&old.standing),
                pool: Arc::clone(&old.pool),
                runtime: Arc::clone(&old.runtime),
                registry: RwLock::new(Arc::new(registry)),
                config,
            }),
        })
    }

    /// Looks at the plugin folder again: new files are listed, removed ones are missing.
    ///
    /// # Errors
    /// The folder itself cannot be trusted or read; what was known before stays.
    pub async fn rescan(&self) -> Result<(), Error> {
        let registry = Arc::new(self.scanned().await?);
        *self
            .inner
            .registry
            .write()
            .unwrap_or_else(PoisonError::into_inner) = registry;
        Ok(())
    }

    /// The plugin folder as it is now; what counts is still what was read before.
    pub(crate) async fn scanned(&self) -> Result<Registry, Error> {
        scan(&self.inner.config, &self.inner.runtime).await
    }

    /// Opens a sealed vault.
    ///
    /// # Errors
    /// [`keywheel_vault::Error::WrongKey`] and its like.
    pub async fn unseal(&self, unlock: Unlock) -> Result<(), Error> {
        self.inner.vault.unseal(unlock).await?;
        self.inner
            .audit_as("vault.unseal", "vault", "ok", serde_json::json!({}))
            .await
    }

    /// The embedded vault, for slots and sealing.
    pub fn vault(&self) -> &Embedded {
        &self.inner.vault
    }

    /// What this host measures of itself.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The store's statistics: commits, changes and looks since it was opened.
    pub fn store_statistics(&self) -> keywheel_store::Statistics {
        self.inner.store.statistics()
    }
}

impl Inner {
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A rotation of which something may be started.
    pub(crate) fn rotation(&self, name: &RotationName) -> Result<Arc<Rotation>, Error> {
        let rotation = self.configured(name)?;
        self.config.usable(&rotation)?;
        Ok(rotation)
    }

    /// The same where nothing is started of it: its plugin or trust set may be lost.
    pub(crate) fn configured(&self, name: &RotationName) -> Result<Arc<Rotation>, Error> {
        self.config.rotation(name).ok_or_else(|| Error::NoRotation {
            rotation: name.clone(),
        })
    }

    pub(crate) fn plugin(&self, name: &PluginName) -> Result<Arc<Plugin>, Error> {
        self.registry()
            .plugin(name)
            .map_err(|source| Error::PluginUnusable {
                name: name.clone(),
                source,
            })
    }

    /// The grants as the files say now: a grant that is taken away acts at once (rule P12).
    pub(crate) async fn policy(&self) -> Result<Arc<Policy>, Error> {
        let grants = Arc::clone(&self.grants);
        blocking(move || grants.now()).await?
    }

    /// A version is current no more: the sessions that were logged in with it are closed, those in use when they come back.
    pub(crate) fn retire(&self, version: Option<&VersionId>) {
        if let Some(version) = version {
            self.pool.retire(version);
        }
        self.pool.sweep();
    }

    /// Whether this host drives the run. No other host does: it has the state to itself.
    pub(crate) fn is_driven(&self, run: &RunId) -> bool {
        self.turns.is_driven(run)
    }

    pub(crate) async fn audit_as(
        &self,
        action: &'static str,
        resource: &str,
        outcome: &'static str,
        details: serde_json::Value,
    ) -> Result<(), Error> {
        let entry = keywheel_audit::Entry::of_host(action, resource, outcome)
            .by(actor())
            .with(details);
        self.store
            .write(move |tx| Ok::<_, Error>(tx.audit(&entry).map(|_| ())?))
            .await
    }
}

/// Runs something that blocks on files or computes for long, off the executor.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Defect("a blocking task died"))
}

pub(crate) async fn open_store(config: &Config, options: Options) -> Result<Store, Error> {
    let dir = std::path::absolute(&config.state_dir).unwrap_or_else(|_| config.state_dir.clone());
    let opened = blocking(move || Store::open_existing(&dir, options)).await?;
    opened.map_err(|source| match source {
        source @ keywheel_store::Error::NoState { .. } => Error::NoState {
            named: named("`state.dir`", config.state_dir_place()),
            interrupted: Interrupted::find(config)
                .map(|restore| Box::new((restore.words(), restore.way_out()))),
            source,
        },
        source => source.into(),
    })
}

fn key_file(config: &Config) -> Option<&Path> {
    match &config.vault {
        VaultConfig::Embedded { key_file } => key_file.as_deref(),
    }
}

fn start_runtime(config: &Config, vault: &Embedded) -> Result<Arc<Runtime>, Error> {
    // Without its key nothing in the cache can be believed: a sealed host compiles.
    let cache = match vault.sub_key("plugin-cache") {
        Ok(key) => Some(CacheOptions {
            folder: compiled(config),
            key,
        }),
        Err(keywheel_vault::Error::Sealed) => None,
        Err(error) => return Err(error.into()),
    };
    let limits = limits(config);
    Ok(Runtime::new(RuntimeOptions { limits, cache })?)
}

/// Where compiled plugins are kept.
fn compiled(config: &Config) -> PathBuf {
    config.state_dir.join("compiled")
}

/// Takes compiled plugins away, to be compiled again: with the vault's root the key changes that says that this host wrote them.
pub(crate) async fn forget_compiled(config: &Config) -> Result<(), Error> {
    let folder = compiled(config);
    blocking(move || {
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // One that stays is not believed, and said so where it would be used.
            let _ = std::fs::remove_file(file.path());
        }
    })
    .await
}

pub(crate) fn limits(config: &Config) -> keywheel_plugin::Limits {
    keywheel_plugin::Limits {
        memory_bytes: usize::try_from(config.limits.memory_bytes).unwrap_or(usize::MAX),
        cpu: config.limits.cpu,
        wall_clock: config.limits.step,
        ..keywheel_plugin::Limits::default()
    }
}

fn places(config: &Config) -> Places {
    Places {
        plugins: config.plugins.dir.clone(),
        lock: config.plugins.lock.clone(),
        grants: config.policies_dir.clone(),
        kept: config.state_dir.join("plugins"),
    }
}

async fn scan(config: &Config, runtime: &Arc<Runtime>) -> Result<Registry, Error> {
    let places = places(config);
    let upgrades = match config.plugins.upgrades {
        Upgrades::Hold => keywheel_plugin::Upgrades::Hold,
        Upgrades::SameGrants => keywheel_plugin::Upgrades::SameGrants,
    };
    let rules = keywheel_plugin::Rules {
        upgrades,
        publishers: publishers(config)?,
    };
    let runtime = Arc::clone(runtime);
    let scanned = blocking(move || Registry::scan(&runtime, places, rules)).await?;
    scanned.map_err(|source| match source {
        source @ keywheel_plugin::Error::NoFolder { .. } => Error::NoPlugins {
            named: named("`plugins.dir`", config.plugins_dir_place()),
            source: Box::new(source),
        },
        source => source.into(),
    })
}

/// Whose signatures count.
pub(crate) fn publishers(config: &Config) -> Result<keywheel_plugin::Publishers, Error> {
    let plugins = &config.plugins;
    keywheel_plugin::Publishers::new(&plugins.publishers, plugins.signatures_required).map_err(|source| {
        Error::Publisher {
            named: named("`plugins.publishers`", config.publishers_place()),
            source,
        }
    })
}

/// A key of the configuration, and where it stands.
fn named(key: &str, place: Option<Place>) -> String {
    match place {
        Some(place) => format!("{key} at {place}"),
        None => format!("the default of {key}"),
    }
}
