//! What the harness does in a host's state by itself, between two commands: preparing an attack and looking at what came of it need no
//! process each. What is tested is done by the binary alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use keywheel_e2e::Host;
use keywheel_engine::{AuditQuery, Engine, Import, Order, Silent, Stop, SystemClock, Wait};
use keywheel_model::{RunId, SecretBytes, Trigger};
use serde_json::Value;

/// Runs something on the state of a host that no command has open.
fn inside<T: Send>(host: &Host, work: impl AsyncFnOnce(&Engine) -> T + Send) -> T {
    let file: PathBuf = host.file("keywheel.toml");
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let config = keywheel_config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
            let engine = Engine::open_vault_alone(config, Arc::new(SystemClock))
                .await
                .unwrap();
            work(&engine).await
        })
    };
    // A test may have a runtime of its own, in which no other can be waited for.
    thread::scope(|scope| scope.spawn(run).join()).unwrap()
}

/// Stores credentials under names that no rotation has, as `secret import` does.
pub(crate) fn import(host: &Host, secrets: &[(String, &str)]) {
    inside(host, async |engine: &Engine| {
        for (name, value) in secrets {
            let import = Import {
                name: name.parse().unwrap(),
                value: SecretBytes::copy_of(value.as_bytes()),
                annotations: std::collections::BTreeMap::new(),
                expires: None,
            };
            let (_stopper, stop) = Stop::pair();
            let order = Order {
                trigger: Trigger::Manual,
                reason: None,
                wait: Wait::ToTheEnd,
                ignores_offset: false,
                stop,
                observer: &Silent,
            };
            engine.import(import, order).await.unwrap();
        }
    });
}

/// What is kept of a run: its rows of the audit trail, oldest first; and, where it has promoted something, the value of `secret` that is
/// current now.
pub(crate) fn kept(host: &Host, run: &RunId, secret: &str) -> (Vec<Value>, Option<String>) {
    inside(host, async |engine: &Engine| {
        let query = AuditQuery {
            run: Some(run.clone()),
            oldest_first: true,
            limit: 10_000,
            ..AuditQuery::default()
        };
        let rows = engine.audit(query).await.unwrap();
        let promoted = rows.iter().any(|row| row.action == "secret.promote");
        let current = if promoted {
            let value = engine
                .read(
                    &secret.parse().unwrap(),
                    &"current".parse().unwrap(),
                    None,
                    "test",
                )
                .await
                .unwrap();
            Some(String::from_utf8(value.expose().to_vec()).unwrap())
        } else {
            None
        };
        let rows = rows.iter().map(|row| serde_json::to_value(row).unwrap());
        (rows.collect(), current)
    })
}
