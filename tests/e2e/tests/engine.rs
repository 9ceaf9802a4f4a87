//! The engine as a library, with the shipped plugins and real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywheel_engine::{Engine, Import, Imported, Left, Order, Setup, Silent, Stop, SystemClock, Wait};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use keywheel_model::{SecretBytes, Trigger};
use keywheel_workflow::RunWord;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins")
}

fn order() -> Order<'static> {
    let (stopper, stop) = Stop::pair();
    // Never asked to stop: the other end lives as long as the test.
    std::mem::forget(stopper);
    Order {
        trigger: Trigger::Manual,
        reason: None,
        wait: Wait::ToTheEnd,
        stop,
        observer: &Silent,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_role_is_adopted_planned_and_rotated() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let old = random_password();
    server
        .sql(&format!("CREATE ROLE app LOGIN PASSWORD '{old}'"))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    Setup {
        folder: folder.path().to_owned(),
        passphrase: None,
        key_file: true,
        clock: Arc::new(SystemClock),
    }
    .run()
    .await
    .unwrap();
    std::fs::copy(
        plugins().join("postgres.wasm"),
        folder.path().join("plugins/postgres.wasm"),
    )
    .unwrap();
    let config = folder.path().join("keywheel.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        r#"
[trust.test]
pem = ["{}"]

[[rotation]]
name = "app-db"
plugin = "postgres"
secret = "app/db"
inputs = {{ admin = "admin/db" }}
grace = "1s"
gap = "accept"
deadlines = {{ step = "5s" }}
consumers = [{{ name = "shop", staleness = "1s" }}]

[rotation.config]
mode = "role"
host = "localhost"
port = {}
trust = "test"
admin = "{}"
role = "app"
"#,
        server.ca_file().display(),
        server.port(),
        server.admin_user()
    ));
    std::fs::write(&config, text).unwrap();
    let config = keywheel_config::load(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
    let engine = Engine::open(config, Arc::new(SystemClock)).await.unwrap();
    println!("{:#?}", engine.plugins());
    let name = "postgres".parse().unwrap();
    let hosts = [
        format!("localhost:{} tls", server.port()).parse().unwrap(),
        format!("127.0.0.1:{} tls", server.port()).parse().unwrap(),
    ];
    let addition = engine.addition(&name, &hosts).unwrap();
    engine.add_plugin(addition).await.unwrap();
    let admin = Import {
        name: "admin/db".parse().unwrap(),
        value: SecretBytes::copy_of(server.admin_password().as_bytes()),
        annotations: BTreeMap::new(),
    };
    assert!(matches!(
        engine.import(admin, order()).await.unwrap(),
        Imported::Stored(_)
    ));
    let app = Import {
        name: "app/db".parse().unwrap(),
        value: SecretBytes::copy_of(old.as_bytes()),
        annotations: BTreeMap::new(),
    };
    match engine.import(app, order()).await.unwrap() {
        Imported::Adopted(run, Left::Ended) => assert_eq!(run.state, RunWord::Succeeded, "{run:#?}"),
        other => panic!("{other:#?}"),
    }
    let rotation = "app-db".parse().unwrap();
    let plan = engine.plan(&rotation).await.unwrap();
    assert!(plan.problems.is_empty(), "{plan:#?}");
    let (run, left) = engine.rotate(&rotation, order()).await.unwrap();
    assert_eq!((run.state, left), (RunWord::Succeeded, Left::Ended), "{run:#?}");
    let new = engine
        .read(&"app/db".parse().unwrap(), None, "test")
        .await
        .unwrap();
    let new = std::str::from_utf8(new.expose()).unwrap().to_owned();
    assert!(server.login("app", &new).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());
    let report = engine.audit_verify(Vec::new()).await.unwrap();
    assert!(report.rows > 10);
}
