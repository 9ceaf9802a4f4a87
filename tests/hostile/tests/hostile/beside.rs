//! Healthy rotations beside attacks, in one host at the same time: they go through while the attack goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keywheel_engine::view::RunView;
use keywheel_engine::{Engine, Left, Observer, Order, Silent, State, Stop, SystemClock, Wait};
use keywheel_hostile::{Attack, On, Scene, Taken, rotation, scene};
use keywheel_model::Trigger;

/// How long a healthy rotation may take at most: far beyond what it needs.
const DEADLINE: Duration = Duration::from_mins(1);

/// Whether a run has come to the step `create`.
#[derive(Default)]
struct Creates(AtomicBool);

impl Observer for Creates {
    fn changed(&self, state: &State) {
        let creates = format!("{:?}", state.phase) == "Create";
        self.0.fetch_or(creates, Ordering::SeqCst);
    }
}

fn order(observer: &dyn Observer) -> Order<'_> {
    let (stopper, stop) = Stop::pair();
    // Never asked to stop: the other end lives as long as the test.
    std::mem::forget(stopper);
    Order {
        trigger: Trigger::Manual,
        reason: None,
        wait: Wait::ToTheEnd,
        stop,
        observer,
    }
}

/// An engine with rotations of these attacks, and two honest ones; the names of all.
async fn engine(scene: &Scene, attacks: &[(Attack<'_>, &str)]) -> (Engine, Vec<String>, [String; 2]) {
    let (mut rotations, mut names) = (Vec::new(), Vec::new());
    for (attack, step) in attacks {
        let subject = scene.create(attack);
        let lines = rotation(&subject.name, attack, "");
        rotations.push(lines.replace("step = \"3s\"", &format!("step = \"{step}\"")));
        names.push(subject.name);
    }
    let redis = Attack::HONEST;
    let postgres = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        ..Attack::HONEST
    };
    let healthy = [redis, postgres].map(|honest| {
        let subject = scene.create(&honest);
        rotations.push(rotation(&subject.name, &honest, ""));
        subject.name
    });
    scene.configure("", &rotations);
    let file = scene.host.file("keywheel.toml");
    let config = keywheel_config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
    let engine = Engine::open(config, Arc::new(SystemClock)).await.unwrap();
    (engine, names, healthy)
}

async fn rotate(engine: Engine, name: String) -> (RunView, Left) {
    engine
        .rotate(&name.parse().unwrap(), order(&Silent))
        .await
        .unwrap()
}

/// A step that holds a connection and never returns: healthy rotations on the same servers come to their end, and the attack still
/// stands in its step then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_healthy_rotations_end_while_a_step_never_returns() {
    let scene: Taken = scene();
    let hold = Attack {
        does: "hold",
        ..Attack::HONEST
    };
    let (engine, attacks, healthy) = engine(&scene, &[(hold, "10m")]).await;
    let creates = Arc::new(Creates::default());
    let attack = tokio::spawn({
        let (engine, creates, name) = (engine.clone(), Arc::clone(&creates), attacks[0].parse().unwrap());
        async move { engine.rotate(&name, order(&*creates)).await.map(drop) }
    });
    let begun = Instant::now();
    while !creates.0.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < DEADLINE, "the attack does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for name in healthy {
        let (run, left) = tokio::time::timeout(DEADLINE, rotate(engine.clone(), name))
            .await
            .unwrap();
        assert_eq!(left, Left::Ended, "{run:#?}");
        assert_eq!(serde_json::to_value(run.state).unwrap(), "succeeded", "{run:#?}");
    }
    assert!(!attack.is_finished());
    attack.abort();
}

/// The administrator's session that one rotation has spoilt is not the next one's.
#[test]
fn a_rotation_after_a_plugin_that_left_the_administrators_session_read_only() {
    let scene: Taken = scene();
    let spoils = Attack {
        plugin: "hostile-postgres",
        on: On::Postgres,
        does: "spoil-the-session",
        ..Attack::HONEST
    };
    let honest = Attack { does: "", ..spoils };
    let (spoilt, healthy) = (scene.create(&spoils), scene.create(&honest));
    let rotations = [
        rotation(&spoilt.name, &spoils, ""),
        rotation(&healthy.name, &honest, ""),
    ];
    scene.configure("", &rotations);
    // In one process, so that its pool has the session when the second one asks for it.
    let output = scene
        .host
        .run(&["rotate", &spoilt.name, &healthy.name, "-o", "json"], "");
    let runs = output.json();
    assert_eq!(runs[0]["steps"][1]["code"], "attack.left", "{runs:#}");
    assert_eq!(runs[1]["state"], "succeeded", "{runs:#}");
}

/// Bombs of every kind at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_healthy_rotations_go_through_while_bombs_go_off() {
    let scene: Taken = scene();
    let bomb = |does| Attack {
        does,
        ..Attack::HONEST
    };
    let bombs = [
        "cpu",
        "memory",
        "stack",
        "log",
        "host-calls",
        "conceal",
        "answer",
        "panic",
        "wait",
    ];
    let (engine, attacks, healthy) = engine(&scene, &bombs.map(|does| (bomb(does), "10s"))).await;
    let attacks: Vec<_> = attacks
        .into_iter()
        .map(|name| tokio::spawn(rotate(engine.clone(), name)))
        .collect();
    for name in healthy {
        let (run, left) = tokio::time::timeout(DEADLINE, rotate(engine.clone(), name))
            .await
            .unwrap();
        assert_eq!(left, Left::Ended, "{run:#?}");
        assert_eq!(serde_json::to_value(run.state).unwrap(), "succeeded", "{run:#?}");
    }
    let states: BTreeSet<bool> = attacks.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert!(states.contains(&false), "one of them waits for ever");
    attacks.iter().for_each(tokio::task::JoinHandle::abort);
}
