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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel_engine::{
    Engine, Import, Imported, Keeper, Left, Observer, Order, RecoveryIdentity, Setup, Silent, State, Stop,
    SystemClock, Wait,
};
use keywheel_kit::{Postgres, PostgresOptions, random_password};
use keywheel_model::{Clock, SecretBytes, StepName, Timestamp, Trigger};
use keywheel_workflow::{Effect, RunWord};
use tokio::sync::watch;

/// Of a whole rotation with consumers, verify login, grace and the proof at its end. There were about a hundred before a call read what it needs together.
const LOOKS_MAX: u64 = 60;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins")
}

fn order() -> Order<'static> {
    watched(&Silent)
}

fn watched(observer: &dyn Observer) -> Order<'_> {
    let (stopper, stop) = Stop::pair();
    // Never asked to stop: the other end lives as long as the test.
    std::mem::forget(stopper);
    Order {
        trigger: Trigger::Manual,
        reason: None,
        wait: Wait::ToTheEnd,
        ignores_offset: false,
        stop,
        observer,
    }
}

/// An open engine with one rotation, its plugin pinned, both credentials imported.
struct Scene {
    server: Postgres,
    engine: Engine,
    old: String,
    admin: String,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    scene_at(Arc::new(SystemClock)).await
}

async fn scene_at(clock: Arc<dyn Clock>) -> Scene {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    let (old, admin) = (random_password(), random_password());
    server
        .sql(&format!(
            "CREATE ROLE app LOGIN PASSWORD '{old}'; CREATE ROLE rotator LOGIN CREATEROLE PASSWORD '{admin}'"
        ))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    Setup {
        folder: folder.path().to_owned(),
        passphrase: None,
        key_file: true,
        recovery: RecoveryIdentity::generate().unwrap(),
        clock: Arc::clone(&clock),
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
admin = "rotator"
role = "app"
"#,
        server.ca_file().display(),
        server.port(),
    ));
    std::fs::write(&config, text).unwrap();
    let config = keywheel_config::load(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
    let engine = Engine::open(config, clock).await.unwrap();
    let name = "postgres".parse().unwrap();
    let hosts = [
        format!("localhost:{} tls", server.port()).parse().unwrap(),
        format!("127.0.0.1:{} tls", server.port()).parse().unwrap(),
    ];
    let (addition, _) = engine.addition(&name, |_| hosts.to_vec()).await.unwrap();
    engine.add_plugin(addition).await.unwrap();
    let stored = engine.import(import("admin/db", &admin), order()).await.unwrap();
    assert!(matches!(stored, Imported::Stored(_)));
    match engine.import(import("app/db", &old), order()).await.unwrap() {
        Imported::Adopted(run, Left::Ended) => assert_eq!(run.state, RunWord::Succeeded, "{run:#?}"),
        other => panic!("{other:#?}"),
    }
    Scene {
        server,
        engine,
        old,
        admin,
        _folder: folder,
    }
}

fn import(name: &str, value: &str) -> Import {
    Import {
        name: name.parse().unwrap(),
        value: SecretBytes::copy_of(value.as_bytes()),
        annotations: BTreeMap::new(),
        expires: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_role_is_adopted_planned_and_rotated() {
    let Scene {
        server,
        engine,
        old,
        admin: _,
        _folder,
    } = Box::pin(scene()).await;
    let rotation = "app-db".parse().unwrap();
    let plan = engine.plan(&rotation).await.unwrap();
    assert!(plan.problems.is_empty(), "{plan:#?}");
    assert_eq!(
        plan.hosts,
        [
            format!("127.0.0.1 port {} tls", server.port()),
            format!("localhost port {} tls", server.port())
        ]
    );
    let (run, left) = engine.rotate(&rotation, order()).await.unwrap();
    assert_eq!((run.state, left), (RunWord::Succeeded, Left::Ended), "{run:#?}");
    let new = engine
        .read(
            &"app/db".parse().unwrap(),
            &"current".parse().unwrap(),
            None,
            "test",
        )
        .await
        .unwrap();
    let new = std::str::from_utf8(new.expose()).unwrap().to_owned();
    assert!(server.login("app", &new).unwrap().is_accepted());
    assert!(server.login("app", &old).unwrap().is_refused());
    let report = engine.audit_verify(Vec::new(), None).await.unwrap();
    assert!(report.rows > 10);
}

/// Each look at the store is a change of threads. What a rotation asks of it neither grows with what was rotated before nor comes back once for each part
/// of a call.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_looks_at_the_store_a_bounded_number_of_times() {
    let scene = Box::pin(scene()).await;
    let rotation = "app-db".parse().unwrap();
    let mut looks = Vec::new();
    for _ in 0..4 {
        let before = scene.engine.store_statistics().reads;
        let (run, left) = scene.engine.rotate(&rotation, order()).await.unwrap();
        assert_eq!((run.state, left), (RunWord::Succeeded, Left::Ended), "{run:#?}");
        looks.push(scene.engine.store_statistics().reads - before);
    }
    assert!(looks.iter().all(|looks| *looks <= LOOKS_MAX), "{looks:?}");
}

/// A pool dies with its version: what was logged in with the administrator's old password does not outlive it.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_an_administrator_end_when_its_next_version_is_current() {
    let Scene {
        server,
        engine,
        old: _,
        admin: before,
        _folder,
    } = Box::pin(scene()).await;
    let rotation = "app-db".parse().unwrap();
    let (run, _) = engine.rotate(&rotation, order()).await.unwrap();
    assert_eq!(run.state, RunWord::Succeeded, "{run:#?}");
    let sessions = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'keywheel %'";
        server.sql(sql).unwrap()
    };
    assert_eq!(
        sessions(),
        "1",
        "the administrator's session is kept for the next rotation"
    );

    let next = random_password();
    server
        .sql(&format!("ALTER ROLE rotator PASSWORD '{next}'"))
        .unwrap();
    let stored = engine.import(import("admin/db", &next), order()).await.unwrap();
    assert!(matches!(stored, Imported::Stored(_)));
    // The server needs a moment to hear the goodbye; an idle session would stay for a minute.
    let gone = async {
        while sessions() != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("the session of the old version has ended");
    assert!(server.login("rotator", &before).unwrap().is_refused());
    let (run, _) = engine.rotate(&rotation, order()).await.unwrap();
    assert_eq!(run.state, RunWord::Succeeded, "{run:#?}");
}

/// The system's clock, put forward.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Lets the lease of a run lapse at the very moment at which an effect is about to begin, once, and notes what is asked for from there on.
struct Lapse {
    clock: Arc<Ahead>,
    at: fn(&Effect) -> bool,
    effects: Mutex<Vec<Effect>>,
}

impl Observer for Lapse {
    fn changed(&self, state: &State) {
        let Some(effect) = &state.doing else { return };
        let mut effects = self.effects.lock().unwrap();
        if effects.is_empty() && (self.at)(effect) {
            self.clock.0.fetch_add(31_000, Ordering::SeqCst);
            effects.push(effect.clone());
        } else if !effects.is_empty() {
            effects.push(effect.clone());
        }
    }
}

fn calls(effect: &Effect, step: StepName) -> bool {
    matches!(effect, Effect::Call(call) if call.step == step)
}

/// Also of those whose state need not be durable before they begin.
#[tokio::test(flavor = "multi_thread")]
async fn no_effect_begins_under_a_lease_that_has_lapsed() {
    let clock = Arc::new(Ahead::default());
    let Scene {
        server: _server,
        engine,
        _folder,
        ..
    } = Box::pin(scene_at(clock.clone())).await;
    let rotation = "app-db".parse().unwrap();
    let moments: [fn(&Effect) -> bool; 4] = [
        |effect| calls(effect, StepName::Plan),
        |effect| calls(effect, StepName::Create),
        |effect| calls(effect, StepName::Test),
        |effect| matches!(effect, Effect::Propagate { .. }),
    ];
    for at in moments {
        let lapse = Lapse {
            clock: Arc::clone(&clock),
            at,
            effects: Mutex::default(),
        };
        let (run, _) = engine.rotate(&rotation, watched(&lapse)).await.unwrap();
        assert_eq!(run.state, RunWord::Succeeded, "{run:#?}");
        let effects = lapse.effects.lock().unwrap();
        assert!(
            matches!(effects.get(1), Some(Effect::Lease)),
            "it began without the lease: {effects:#?}"
        );
        let again = effects.iter().skip(1).any(at);
        assert!(again, "it came to it under a new lease: {effects:#?}");
    }
}

/// What was left of its wait is what is left of it, by the host that runs, too; and not the days that the clock was ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let clock = Arc::new(Ahead::default());
    let Scene {
        server: _server,
        engine,
        _folder,
        ..
    } = Box::pin(scene_at(clock.clone())).await;
    let ahead = u64::try_from(Duration::from_hours(20 * 24).as_millis()).unwrap();
    clock.0.store(ahead, Ordering::SeqCst);
    let rotation = "app-db".parse().unwrap();
    let now = Order {
        wait: Wait::at_most(Duration::ZERO),
        ..order()
    };
    let (run, left) = engine.rotate(&rotation, now).await.unwrap();
    assert!(matches!(left, Left::Waiting(_)), "{left:?} {run:#?}");
    clock.0.store(0, Ordering::SeqCst);
    let (stopper, stop) = Stop::pair();
    let (_engine, watched) = watch::channel(engine.clone());
    let keeper = tokio::spawn(Keeper::new(watched, stop).run());
    let over = async {
        while !engine.open_runs().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), over).await.unwrap();
    stopper.stop();
    keeper.await.unwrap();
    let ended = &engine.runs(Some(&rotation), 1).await.unwrap()[0];
    assert_eq!(ended.run, run.run);
    assert_eq!(ended.state, RunWord::Succeeded, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_replaced_after_it_was_shown_is_not_pinned() {
    let Scene {
        engine,
        _folder: folder,
        ..
    } = Box::pin(scene()).await;
    let (file, name) = (folder.path().join("plugins/redis.wasm"), "redis".parse().unwrap());
    let lock = || std::fs::read_to_string(folder.path().join("plugins.lock")).unwrap();
    let good = std::fs::read(plugins().join("redis.wasm")).unwrap();
    std::fs::write(&file, &good).unwrap();
    let (shown, _) = engine.addition(&name, |_| Vec::new()).await.unwrap();
    let before = lock();
    // A custom section of one byte: another file of the same plugin.
    std::fs::write(&file, [&good[..], &[0, 2, 1, b'x']].concat()).unwrap();
    let refused = engine.add_plugin(shown.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "plugin.changed");
    assert_eq!(lock(), before);
    std::fs::write(&file, &good).unwrap();
    engine.add_plugin(shown.clone()).await.unwrap();
    assert!(lock().contains(&shown.digest.to_string()));
}
