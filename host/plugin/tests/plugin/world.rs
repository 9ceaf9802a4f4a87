//! A folder of plugins, and one step of one rotation, as small as they can be.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keywheel_capability::capability::{Capabilities, Settings};
use keywheel_capability::handle::{Labels, StoredAt};
use keywheel_capability::http::HttpSettings;
use keywheel_capability::net::NetSettings;
use keywheel_capability::port::{
    AuditFact, Conclusion, Intent, Loaded, NewVersion, Output, RunPort, VaultWrite, VersionFacts, Wanted,
};
use keywheel_capability::sql::SqlSettings;
use keywheel_capability::{Cancel, HostState, StepContext};
use keywheel_model::{
    Clock, Epoch, ErrorKind, PluginName, Role, RunId, SecretBytes, SecretName, StepError, StepName,
    Timestamp, Trigger,
};
use keywheel_plugin::{
    CacheOptions, Limits, Places, Plugin, Registry, Rules, Runtime, RuntimeOptions, Status, Upgrades,
};
use keywheel_policy::Policy;
use keywheel_target::Outbound;
use keywheel_target::dial::Dialer;
use keywheel_target::postgres::{Pool, PoolLimits};
use keywheel_target::tls::TrustStore;

pub struct World {
    pub folder: tempfile::TempDir,
    pub runtime: Arc<Runtime>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["plugins", "policies"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let runtime = runtime(&folder, limits, b"a key of the vault");
        Self { folder, runtime }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn drop_in(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path("plugins").join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    pub fn places(&self) -> Places {
        Places {
            plugins: self.path("plugins"),
            lock: self.path("plugins.lock"),
            grants: self.path("policies"),
            kept: self.path("kept"),
        }
    }

    pub fn scan(&self) -> Registry {
        self.scan_with(Upgrades::Hold)
    }

    pub fn scan_with(&self, upgrades: Upgrades) -> Registry {
        self.scan_by(Rules {
            upgrades,
            ..Rules::default()
        })
    }

    pub fn scan_by(&self, rules: Rules) -> Registry {
        Registry::scan(&self.runtime, self.places(), rules).unwrap()
    }

    /// Pins what is in the folder under a name.
    pub fn add(&self, name: &str) {
        let registry = self.scan();
        registry
            .add(&registry.addition(&plugin(name), &[]).unwrap())
            .unwrap();
    }

    /// A plugin of these bytes, pinned.
    pub fn plugin(&self, bytes: &[u8]) -> Arc<Plugin> {
        self.drop_in("probe.wasm", bytes);
        self.add("probe");
        self.scan().plugin(&plugin("probe")).unwrap()
    }
}

pub fn runtime(folder: &tempfile::TempDir, limits: Limits, key: &[u8]) -> Arc<Runtime> {
    let cache = Some(CacheOptions {
        folder: folder.path().join("compiled"),
        key: SecretBytes::copy_of(key),
    });
    Runtime::new(RuntimeOptions { limits, cache }).unwrap()
}

pub fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}

/// The code of the only file that is refused.
pub fn refusal(registry: &Registry) -> String {
    let mut codes = registry
        .listed()
        .iter()
        .filter_map(|listed| match &listed.status {
            Status::Refused(error) => Some(error.code().to_owned()),
            _ => None,
        });
    let code = codes.next().expect("a file is refused");
    assert_eq!(codes.next(), None);
    code
}

/// What each name's file is.
pub fn status(registry: &Registry, name: &str) -> &'static str {
    let name = plugin(name);
    let mut found = registry
        .listed()
        .iter()
        .filter(|listed| listed.name.as_ref() == Some(&name));
    found.next().map_or("none", |listed| listed.status.as_str())
}

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap())
    }
}

/// Everything that a call of a plugin may see, for so long.
pub fn state(plugin: &Plugin, step: StepName, within: Duration) -> HostState {
    state_with(plugin, step, within, Vec::new())
}

/// The same with secrets that nothing which the guest writes may hold.
pub fn state_with(plugin: &Plugin, step: StepName, within: Duration, watched: Vec<Loaded>) -> HostState {
    let outbound = Arc::new(Outbound::new(Dialer::system(), TrustStore::new()));
    let sql = SqlSettings {
        outbound: outbound.clone(),
        pool: Arc::new(Pool::new(PoolLimits::default())),
    };
    let capabilities = Capabilities::configure(Settings {
        sql,
        net: NetSettings {
            outbound: outbound.clone(),
        },
        http: HttpSettings { outbound },
    })
    .unwrap();
    capabilities.prepare(StepContext {
        run: RunId::from_number(7),
        rotation: "db".parse().unwrap(),
        secret: "app/db".parse().unwrap(),
        trigger: Trigger::Manual,
        step,
        attempt: 1,
        interrupted: false,
        epoch: Epoch::default(),
        restored: false,
        deadline: System.now() + within,
        config: Arc::new(serde_json::json!({"host": "db.internal", "port": 5432, "user": "app"})),
        public_parts: std::collections::BTreeSet::new(),
        manifest: plugin.manifest().clone(),
        policy: Arc::new(Policy::default()),
        inputs: std::collections::BTreeMap::new(),
        sub_key: SecretBytes::copy_of(&[7; 32]),
        watched,
        port: Arc::new(Nowhere),
        clock: Arc::new(System),
        cancel: Cancel::new().1,
    })
}

/// A vault and a journal that have nothing and take nothing.
struct Nowhere;

fn nothing<T>() -> Result<T, StepError> {
    Err(StepError::new(
        ErrorKind::Unavailable,
        "test.nowhere",
        "there is nothing here",
    ))
}

#[async_trait]
impl RunPort for Nowhere {
    async fn load(&self, _: &Wanted) -> Result<Option<Loaded>, StepError> {
        nothing()
    }
    async fn set_pending(&self, _: NewVersion<'_>) -> Result<StoredAt, StepError> {
        nothing()
    }
    async fn set_output(&self, _: Output<'_>) -> Result<(), StepError> {
        nothing()
    }
    async fn set_expiry(&self, _: Timestamp) -> Result<(), StepError> {
        nothing()
    }
    async fn set_valid_until(&self, _: Role, _: Timestamp) -> Result<(), StepError> {
        nothing()
    }
    async fn annotate(&self, _: &str, _: &str) -> Result<(), StepError> {
        nothing()
    }
    async fn annotation(&self, _: Role, _: &str) -> Result<Option<String>, StepError> {
        nothing()
    }
    async fn ask(&self, _: &str, _: &str) -> Result<Option<Loaded>, StepError> {
        nothing()
    }
    async fn get_state(&self, _: &str) -> Result<Option<Vec<u8>>, StepError> {
        nothing()
    }
    async fn set_state(&self, _: &str, _: Option<&[u8]>) -> Result<(), StepError> {
        nothing()
    }
    async fn set_secret_state(&self, _: &str, _: &SecretBytes, _: &Labels) -> Result<String, StepError> {
        nothing()
    }
    async fn escrow(&self, _: &str, _: &SecretBytes, _: &Labels) -> Result<String, StepError> {
        nothing()
    }
    async fn intend(&self, _: &Intent) -> Result<u64, StepError> {
        nothing()
    }
    async fn conclude(&self, _: u64, _: &Conclusion) -> Result<(), StepError> {
        nothing()
    }
    async fn audit(&self, _: &AuditFact) -> Result<(), StepError> {
        Ok(())
    }
    async fn spend_comparison(&self, _: [&str; 2]) -> Result<bool, StepError> {
        nothing()
    }
    async fn vault_write(&self, _: VaultWrite<'_>) -> Result<String, StepError> {
        nothing()
    }
    async fn vault_versions(&self, _: &SecretName) -> Result<Vec<VersionFacts>, StepError> {
        nothing()
    }
}
