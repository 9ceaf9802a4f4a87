//! What one call may use, and how it ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Loaded;
use keywheel_model::{Effect, ErrorKind, Outcome, SecretBytes, StepName, Verdict};
use keywheel_plugin::{Limits, StepEnd, StepValue, Stop};
use serde_json::json;

use crate::guest::{Guest, answer_plan, manifest};
use crate::world::{World, state, state_with};

const MINUTE: Duration = Duration::from_mins(1);
const LOOP: &str = "(loop $for_ever (br $for_ever)) (unreachable)";

fn quick() -> Limits {
    Limits {
        cpu: Duration::from_millis(100),
        ..Limits::default()
    }
}

async fn run_with(guest: Guest, limits: Limits, step: StepName, within: Duration) -> StepEnd {
    let world = World::with(limits);
    let plugin = world.plugin(&guest.plugin(&manifest("probe", "1.0.0", r#""core""#, "")));
    plugin.run(state(&plugin, step, within)).await
}

async fn create(body: &str, fields: &str, imports: &str) -> StepEnd {
    let guest = Guest {
        create: body.into(),
        fields: fields.into(),
        imports: imports.into(),
        ..Guest::default()
    };
    run_with(guest, quick(), StepName::Create, MINUTE).await
}

fn stopped(end: &StepEnd) -> (&Stop, Effect, ErrorKind) {
    let error = end.result.as_ref().unwrap_err();
    assert_eq!(error.effect, end.effect);
    (end.stop.as_ref().unwrap(), end.effect, error.kind)
}

#[tokio::test]
async fn a_step_that_ends_well_says_so() {
    let end = create("(i32.const 0)", "", "").await;
    assert_eq!(
        (end.result.unwrap(), end.effect, end.stop),
        (StepValue::Outcome(Outcome::Done), Effect::None, None)
    );
}

#[tokio::test]
async fn a_computing_guest_is_ended_by_its_budget_and_holds_up_nobody() {
    let other = tokio::spawn(tokio::time::sleep(Duration::from_millis(20)));
    let end = create(LOOP, "", "").await;
    assert_eq!(stopped(&end), (&Stop::Cpu, Effect::None, ErrorKind::Limit));
    assert!(end.cpu >= Duration::from_millis(100));
    other.await.unwrap();
}

const SLEEP: &str = r#"(import "keywheel:core/runtime@0.1.0" "sleep" (func $sleep (param i32 i32)))"#;

#[tokio::test]
async fn waiting_for_the_host_is_not_computing() {
    let naps = "(call $sleep (i32.const 150) (i32.const 512))".repeat(3);
    let end = create(&format!("{naps} (i32.const 0)"), "", SLEEP).await;
    assert_eq!(end.result.unwrap(), StepValue::Outcome(Outcome::Done));
    assert!(end.cpu < Duration::from_millis(100), "{:?}", end.cpu);
}

#[tokio::test]
async fn a_step_ends_when_its_time_is_over() {
    let guest = Guest {
        create: LOOP.into(),
        ..Guest::default()
    };
    let end = run_with(
        guest,
        Limits::default(),
        StepName::Create,
        Duration::from_millis(50),
    )
    .await;
    assert_eq!(
        stopped(&end),
        (&Stop::WallClock, Effect::None, ErrorKind::Timeout)
    );
}

#[tokio::test]
async fn a_bomb_of_memory_or_tables_is_stopped_by_name() {
    let bomb = "(loop $more (drop (memory.grow (i32.const 256))) (br $more)) (unreachable)";
    assert_eq!(stopped(&create(bomb, "", "").await).0, &Stop::Memory);
    let tables =
        "(loop $more (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $more)) (unreachable)";
    assert_eq!(
        stopped(&create(tables, "(table $t 1 funcref)", "").await).0,
        &Stop::Tables
    );
    // More than it may have from the first instant.
    let guest = Guest {
        memory_pages: 2049,
        ..Guest::default()
    };
    assert_eq!(
        stopped(&run_with(guest, quick(), StepName::Create, MINUTE).await).0,
        &Stop::Memory
    );
}

#[tokio::test]
async fn a_panic_a_trap_and_a_deep_recursion_are_told_apart() {
    assert_eq!(
        stopped(&create("(unreachable)", "", "").await),
        (&Stop::Panic, Effect::None, ErrorKind::Other)
    );
    let beyond = "(i32.load (i32.const 0x7fffffff))";
    assert_eq!(
        stopped(&create(beyond, "", "").await).0,
        &Stop::Trap("out of bounds memory access")
    );
    let recursion =
        "(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))";
    assert_eq!(
        stopped(&create("(call $deeper (i32.const 1))", recursion, "").await).0,
        &Stop::Stack
    );
}

#[tokio::test]
async fn a_guest_that_calls_the_host_for_ever_is_ended() {
    let import = r#"(import "keywheel:core/runtime@0.1.0" "now" (func $now (result i64)))"#;
    let end = create(
        "(loop $more (drop (call $now)) (br $more)) (unreachable)",
        "",
        import,
    )
    .await;
    assert_eq!(
        stopped(&end).0,
        &Stop::Guarded(keywheel_capability::Stop::HostCalls)
    );
}

#[tokio::test]
async fn an_answer_that_is_larger_than_one_may_be_is_not_taken() {
    let import = r#"(import "keywheel:core/runtime@0.1.0" "get-state" (func $get (param i32 i32 i32)))"#;
    let guest = Guest {
        create: "(call $get (i32.const 65536) (i32.const 9000000) (i32.const 512)) (i32.const 0)".into(),
        imports: import.into(),
        memory_pages: 200,
        ..Guest::default()
    };
    let end = run_with(guest, quick(), StepName::Create, MINUTE).await;
    assert!(end.stop.is_some(), "{:?}", end.result);
}

#[tokio::test]
async fn an_instance_lives_for_one_call() {
    // Done if the global is still zero, else a trap.
    let guest = Guest {
        fields: "(global $seen (mut i32) (i32.const 0))".into(),
        create: "(if (global.get $seen) (then (unreachable))) (global.set $seen (i32.const 1)) (i32.const 0)"
            .into(),
        ..Guest::default()
    };
    let world = World::new();
    let plugin = world.plugin(&guest.plugin(&manifest("probe", "1.0.0", r#""core""#, "")));
    for _ in 0..3 {
        plugin
            .run(state(&plugin, StepName::Create, MINUTE))
            .await
            .result
            .unwrap();
    }
}

#[tokio::test]
async fn a_verdict_without_a_login_that_the_host_saw_is_unknown() {
    let end = run_with(Guest::default(), quick(), StepName::Test, MINUTE).await;
    assert!(matches!(
        end.result.unwrap(),
        StepValue::Verdict(Verdict::Unknown(_))
    ));
}

#[tokio::test]
async fn a_plan_is_a_document_or_an_error() {
    let end = run_with(Guest::default(), quick(), StepName::Plan, MINUTE).await;
    assert!(matches!(end.result.unwrap(), StepValue::Plan(plan) if plan.problems.is_empty()));
    let guest = Guest {
        plan: answer_plan("{}"),
        ..Guest::default()
    };
    let end = run_with(guest, quick(), StepName::Plan, MINUTE).await;
    assert_eq!(end.result.unwrap_err().code, "plugin.plan");
}

#[tokio::test]
async fn a_configuration_is_checked_by_the_schema_and_then_by_the_plugin_which_may_call_nobody() {
    let world = World::with(quick());
    let good = json!({"host": "db", "port": 1, "user": "u"});
    let check = |guest: Guest| world.plugin(&guest.plugin(&manifest("probe", "1.0.0", r#""core""#, "")));

    let plugin = check(Guest::default());
    assert_eq!(plugin.check_config(&good).await.unwrap(), []);
    let problems = plugin
        .check_config(&json!({"host": 1, "port": 1, "user": "u"}))
        .await
        .unwrap();
    assert_eq!(problems[0].0, "/host");

    // One problem: pointer "/a", message "/a".
    let body = r"(i32.store16 (i32.const 600) (i32.const 0x612f))
        (i32.store (i32.const 640) (i32.const 600)) (i32.store (i32.const 644) (i32.const 2))
        (i32.store (i32.const 648) (i32.const 600)) (i32.store (i32.const 652) (i32.const 2))
        (i32.store (i32.const 512) (i32.const 640)) (i32.store (i32.const 516) (i32.const 1)) (i32.const 512)";
    let plugin = check(Guest {
        check: body.into(),
        ..Guest::default()
    });
    assert_eq!(
        plugin.check_config(&good).await.unwrap(),
        [("/a".to_owned(), "/a".to_owned())]
    );

    let plugin = check(Guest {
        check: format!("(call $sleep (i32.const 1) (i32.const 512)) {}", "(i32.const 0)"),
        imports: SLEEP.into(),
        ..Guest::default()
    });
    assert_eq!(
        plugin.check_config(&good).await.unwrap_err().code,
        "plugin.misuse"
    );
    let plugin = check(Guest {
        check: LOOP.into(),
        ..Guest::default()
    });
    assert_eq!(plugin.check_config(&good).await.unwrap_err().code, "plugin.cpu");
}

/// A guest that logs a line in `create`, and what the host's own log had after it.
async fn logged(line: &str, watched: Vec<Loaded>) -> (StepEnd, String) {
    let mut body = String::new();
    for (at, byte) in line.bytes().enumerate() {
        body += &format!("(i32.store8 (i32.const {}) (i32.const {byte}))\n", 2048 + at);
    }
    // Level 3 is `warn`.
    let call = format!(
        "(call $log (i32.const 3) (i32.const 2048) (i32.const {}) (i32.const 0) (i32.const 0))",
        line.len()
    );
    let guest = Guest {
        create: format!("{body} {call} (i32.const 0)"),
        imports: r#"(import "keywheel:core/runtime@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))"#
            .into(),
        ..Guest::default()
    };
    let world = World::with(quick());
    let plugin = world.plugin(&guest.plugin(&manifest("probe", "1.0.0", r#""core""#, "")));
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&written);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let end = plugin
        .run(state_with(&plugin, StepName::Create, MINUTE, watched))
        .await;
    drop(guard);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    (end, text)
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_that_a_plugin_logs_is_an_event_of_the_host_and_one_with_a_secret_is_not() {
    let secret = "correct-horse-battery-staple";
    let watched = || {
        vec![Loaded {
            identity: "ver-1".into(),
            roles: Vec::new(),
            value: SecretBytes::copy_of(secret.as_bytes()),
            labels: Labels::imported("text/plain", Alphabet::of_foreign(secret.as_bytes())),
            stored: None,
        }]
    };
    let (end, text) = logged("the role is about to change", watched()).await;
    assert_eq!(end.result.unwrap(), StepValue::Outcome(Outcome::Done));
    let line = text
        .lines()
        .find(|line| line.contains("the role is about to change"));
    let line = line.unwrap_or_else(|| panic!("no such event in {text}"));
    assert!(line.contains("WARN") && line.contains("probe create: "), "{line}");

    let (end, text) = logged(&format!("it is {secret}, in fact"), watched()).await;
    assert!(
        !text.contains(secret) && !format!("{end:?}").contains(secret),
        "{text}"
    );
    assert!(
        text.contains("a step of a plugin ended"),
        "events were heard: {text}"
    );
}
