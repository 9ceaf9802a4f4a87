//! What the running host sends to a collector of traces: read by other people's code.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use keywheel_kit::{BlackHole, Collector};
use serde_json::{Value, json};

use crate::http::{free_address, get, value};
use crate::scene::{Scene, Serving, until};

/// As OTLP numbers them.
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;

/// A host whose spans a collector gets.
fn traced(grace: &str) -> (Scene, Collector) {
    let scene = Scene::new(grace);
    let collector = Collector::start(free_address().port()).unwrap();
    scene.configure_first(&format!("[traces]\nendpoint = \"{}\"\n", collector.endpoint()));
    (scene, collector)
}

fn run_id(scene: &Scene) -> String {
    let run = scene.run(&["run", "show", "app-redis", "-o", "json"]).json();
    run["run"].as_str().unwrap().to_owned()
}

/// The number that a run's id is written from, in hex: base 32 by the digits and the letters up to v.
fn trace_of(run: &str) -> String {
    let digits = run.strip_prefix("run-").unwrap().chars();
    let number = digits.fold(0_u128, |number, digit| {
        number << 5 | u128::from(digit.to_digit(32).unwrap())
    });
    format!("{number:032x}")
}

/// All spans of the run, once its own has come, which is sent last.
fn spans_of(collector: &Collector, run: &str) -> Vec<Value> {
    let of_run = || {
        let spans = collector.spans().unwrap().into_iter();
        spans
            .filter(|span| span["trace"] == trace_of(run).as_str())
            .collect::<Vec<_>>()
    };
    until("the run's span has come", || {
        of_run().iter().any(|span| span["parent"] == "")
    });
    of_run()
}

fn root(spans: &[Value]) -> &Value {
    let roots: Vec<&Value> = spans.iter().filter(|span| span["parent"] == "").collect();
    assert_eq!(roots.len(), 1, "{spans:#?}");
    roots[0]
}

fn steps(spans: &[Value]) -> Vec<&Value> {
    let is_step = |span: &&Value| span["name"].as_str().unwrap().starts_with("step ");
    spans.iter().filter(is_step).collect()
}

fn has_steps(spans: &[Value], wanted: &[&str]) {
    let names: BTreeSet<&str> = steps(spans)
        .iter()
        .map(|step| step["attributes"]["keywheel.rotation.step"].as_str().unwrap())
        .collect();
    for step in wanted {
        assert!(names.contains(step), "{step}: {spans:#?}");
    }
}

/// Every step stands in the run, every call of the target in a step, and each in the time of its parent.
fn is_a_tree(spans: &[Value]) {
    let root = root(spans);
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own: {spans:#?}");
    for span in spans.iter().filter(|span| span["parent"] != "") {
        let parent = spans.iter().find(|other| other["id"] == span["parent"]);
        let parent = parent.unwrap_or_else(|| panic!("no parent: {span:#?}\n{spans:#?}"));
        if span["kind"] == CLIENT {
            assert!(
                parent["name"].as_str().unwrap().starts_with("step "),
                "{span:#?} in {parent:#?}"
            );
        } else {
            assert_eq!(parent["id"], root["id"], "{span:#?}");
            assert_eq!(span["kind"], INTERNAL, "{span:#?}");
        }
        assert!(
            span["began"].as_u64() >= parent["began"].as_u64(),
            "{span:#?} in {parent:#?}"
        );
        assert!(span["began"].as_u64() <= span["ended"].as_u64(), "{span:#?}");
    }
}

#[test]
fn a_run_is_one_trace_with_its_steps_and_their_calls() {
    let (scene, collector) = traced("1s");
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let run = run_id(&scene);
    let spans = spans_of(&collector, &run);
    is_a_tree(&spans);
    let root = root(&spans);
    assert_eq!(root["name"], "rotation app-redis");
    assert_eq!(root["id"].as_str().unwrap(), &trace_of(&run)[16..]);
    assert_eq!(
        root["attributes"],
        json!({
            "keywheel.rotation.name": "app-redis", "keywheel.run.id": run, "keywheel.plugin.name": "redis",
            "keywheel.rotation.trigger": "manual", "keywheel.rotation.result": "succeeded",
        })
    );
    assert_eq!(root["resource"]["service.name"], "keywheel");
    assert_eq!(root["status"], 0);
    has_steps(
        &spans,
        &[
            "plan",
            "create",
            "apply",
            "test",
            "promote",
            "propagate",
            "revoke",
        ],
    );
    let tested = steps(&spans).into_iter().find(|step| step["name"] == "step test");
    assert_eq!(
        tested.unwrap()["attributes"]["keywheel.rotation.result"],
        "accepted"
    );
    let calls = spans.iter().filter(|span| span["kind"] == CLIENT);
    let applied = calls.filter(|call| call["attributes"]["keywheel.call.effect"] == "applied");
    let applied: Vec<&Value> = applied.collect();
    assert!(!applied.is_empty(), "{spans:#?}");
    for call in applied {
        assert_eq!(
            call["attributes"]["server.port"],
            scene.server.port(),
            "{call:#?}"
        );
        assert!(call["attributes"]["keywheel.call.shape"].is_string(), "{call:#?}");
    }
    let _ = serving.ends();
}

#[test]
fn a_run_that_fails_says_by_which_code() {
    let (mut scene, collector) = traced("1s");
    scene.server.stop().unwrap();
    let serving = scene.serve();
    let rotated = scene.run(&["rotate", "app-redis", "--wait", "0s"]);
    assert_ne!(rotated.code, 0);
    let run = run_id(&scene);
    let cancel = ["run", "cancel", "app-redis", "--reason", "test"];
    let _ = scene.run(&cancel).ends(0);
    let spans = spans_of(&collector, &run);
    is_a_tree(&spans);
    assert_eq!(
        root(&spans)["attributes"]["keywheel.rotation.result"],
        "cancelled"
    );
    let failed = steps(&spans).into_iter().find(|step| step["status"] == ERROR);
    let failed = failed.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(failed["attributes"]["keywheel.rotation.result"], "failed");
    let code = failed["attributes"]["error.type"].as_str().unwrap();
    assert!(code.starts_with("net."), "{failed:#?}");
    let _ = serving.ends();
}

#[test]
fn a_run_that_two_processes_drove_is_one_trace() {
    let (scene, collector) = traced("24h");
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "0s"]).ends(0);
    let run = run_id(&scene);
    let promoted = |span: &Value| span["name"] == "step promote" && span["trace"] == trace_of(&run).as_str();
    until("it is promoted, and that is told", || {
        collector.spans().unwrap().iter().any(promoted)
    });
    // Killed.
    drop(serving);
    let serving = scene.serve();
    let revoke = [
        "run",
        "resume",
        "app-redis",
        "--revoke-now",
        "--reason",
        "test",
        "--wait",
        "end",
    ];
    let _ = scene.run(&revoke).ends(0);
    let spans = spans_of(&collector, &run);
    is_a_tree(&spans);
    has_steps(&spans, &["promote", "revoke"]);
    let _ = serving.ends();
}

/// As a page of metrics has it.
fn counted(address: std::net::SocketAddr, what: &str) -> f64 {
    let text = get(address, "/metrics").1;
    value(&text, &format!("keywheel_trace_spans_{what}_total")).unwrap()
}

fn warnings(serving: &mut Serving<'_>) -> usize {
    let told = serving.started().stderr();
    told.lines()
        .filter(|line| line.contains("it takes no spans"))
        .count()
}

/// By the order of events: the rotation is over, and so is the host, and the collector has still said nothing.
#[test]
fn a_collector_that_is_silent_keeps_neither_a_rotation_nor_the_end_of_the_host() {
    let scene = Scene::new("1s");
    let hole = BlackHole::start().unwrap();
    scene.configure_first(&format!(
        "[traces]\nendpoint = \"http://127.0.0.1:{}\"\n",
        hole.port()
    ));
    let serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    assert!(scene.accepts(&scene.host.read("app/redis", None)));
    let ended = serving.ends();
    assert!(hole.connections() > 0);
    assert!(
        ended.stderr.contains("the last spans are lost"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_a_dead_collector_has_not_got_it_gets_when_it_is_back_and_that_it_was_away_is_told_once() {
    let scene = Scene::new("1s");
    let (port, address) = (free_address().port(), free_address());
    scene.configure_first(&format!(
        "[serve]\nhttp = \"{address}\"\n\n[traces]\nendpoint = \"http://127.0.0.1:{port}\"\n"
    ));
    let mut serving = scene.serve();
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    let first = run_id(&scene);
    assert!(serving.started().wait_for("it takes no spans"));
    let _ = scene.run(&["rotate", "app-redis", "--wait", "end"]).ends(0);
    assert!(counted(address, "taken") < 1.0);
    let collector = Collector::start(port).unwrap();
    for run in [first, run_id(&scene)] {
        let spans = spans_of(&collector, &run);
        is_a_tree(&spans);
        has_steps(&spans, &["apply", "revoke"]);
    }
    assert!(serving.started().wait_for("it takes spans again"));
    assert_eq!(warnings(&mut serving), 1, "{}", serving.started().stderr());
    until("they are counted", || counted(address, "taken") >= 2.0);
    assert!(counted(address, "lost") < 1.0);
    let _ = serving.ends();
}

#[test]
fn where_spans_go_is_looked_at_when_the_configuration_is_and_another_place_needs_a_restart() {
    let scene = Scene::new("1s");
    let file = scene.host.file("keywheel.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (lines, why) in [
        ("endpoint = \"127.0.0.1:4318\"", "is no URL"),
        ("endpoint = \"grpc://a:4317\"", "is neither http nor https"),
        ("endpoint = \"http://a\"", "has no port"),
        (
            "endpoint = \"http://a:4318\"\ntrust = \"nobody\"",
            "no trust set has the name",
        ),
    ] {
        fs::write(&file, format!("[traces]\n{lines}\n\n{text}")).unwrap();
        let _ = scene
            .run(&["config", "check"])
            .ends(20)
            .says(&[why, "--> keywheel.toml:", "hint: "]);
    }
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = unused.local_addr().unwrap();
    fs::write(&file, &text).unwrap();
    let mut serving = scene.serve();
    fs::write(
        &file,
        format!("[traces]\nendpoint = \"http://{other}\"\n\n{text}"),
    )
    .unwrap();
    serving.signal(rustix::process::Signal::HUP);
    assert!(serving.started().wait_for("config.needs-restart"));
    let _ = serving.ends();
}
