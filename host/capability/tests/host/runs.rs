//! The pending version: write-ahead, and what may become one (rules H8 and H9).

use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::{AuditFact, Wanted};
use keywheel_model::{Epoch, Role, RunId, StepName, Timestamp};

use crate::world::{again, code, world, world_with};

#[tokio::test]
async fn what_the_guest_knows_never_becomes_pending() {
    let mut world = world(StepName::Create);
    let known = world.conceal("hunter2-hunter2").await;
    assert_eq!(code(world.set_pending(&known).await), "secret.not-a-credential");
    let password = world.password().await;
    let good = world.document(&password).await;
    let with_known = world
        .compose(
            "application/json",
            r#"{"password": ""#,
            &known,
            "json",
            r#"", "decoy": "x"}"#,
        )
        .await
        .unwrap();
    assert_eq!(
        code(world.set_pending(&with_known).await),
        "secret.not-a-credential"
    );
    world.set_pending(&good).await.unwrap();
}

#[tokio::test]
async fn text_alone_never_becomes_pending() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let text = world
        .compose(
            "application/json",
            r#"{"password": ""#,
            &password,
            "json",
            r#""}"#,
        )
        .await
        .unwrap();
    let state = &mut world.state;
    use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
    let text = state
        .with_part_text(
            text,
            "json".to_owned(),
            "/password".to_owned(),
            "chosen-by-me".to_owned(),
        )
        .await
        .unwrap();
    assert_eq!(code(world.set_pending(&text).await), "secret.not-a-credential");
}

#[tokio::test]
async fn another_secret_is_not_laundered_into_the_rotated_one() {
    let mut world = world(StepName::Create);
    let run = world.run();
    let admin = world.state.input(run, "admin".to_owned()).await.unwrap();
    assert_eq!(code(world.set_pending(&admin).await), "secret.not-a-credential");
    let wrapped = world.document(&admin).await;
    assert_eq!(code(world.set_pending(&wrapped).await), "secret.not-a-credential");
}

#[tokio::test]
async fn a_one_way_form_never_becomes_pending() {
    use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let hash = world
        .state
        .derive(password, "redis.sha256".to_owned(), String::new())
        .await
        .unwrap();
    assert_eq!(code(world.set_pending(&hash).await), "secret.not-a-credential");
}

#[tokio::test]
async fn a_second_secret_is_a_conflict_by_id_and_the_same_one_is_not() {
    let mut world = world(StepName::Create);
    let (one, other) = (world.password().await, world.password().await);
    world.set_pending(&one).await.unwrap();
    world.set_pending(&one).await.unwrap();
    assert_eq!(code(world.set_pending(&other).await), "run.pending");
    let stored = world.pending().await;
    world.set_pending(&stored).await.unwrap();
    let expected = world.state.handle(&one).unwrap();
    assert!(
        world.memory.get().secrets[&Wanted::Role(Role::Pending)]
            .value
            .same_as(expected.value())
    );
}

#[tokio::test]
async fn a_conflict_does_not_depend_on_values() {
    let mut world = world(StepName::Create);
    let labels = Labels::generated("text/plain", Alphabet::Text);
    world.memory.keep(
        Wanted::Role(Role::Pending),
        "ver-pen",
        "planted-pending",
        labels.clone(),
    );
    // The same bytes under another id.
    world.memory.keep(
        Wanted::State("twin".to_owned()),
        "state-twin",
        "planted-pending",
        labels,
    );
    use keywheel_capability::bindings::keywheel::core::runtime::Host as _;
    let twin = world
        .state
        .get_secret_state("twin".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(code(world.set_pending(&twin).await), "run.pending");
}

#[tokio::test]
async fn facts_outputs_and_expiry_are_committed_with_the_pending_version() {
    let mut world = world(StepName::Create);
    let run = world.run();
    let borrow = || wasmtime::component::Resource::new_borrow(run.rep());
    let password = world.password().await;
    let output = world
        .compose("text/plain", "user:", &password, "raw", "")
        .await
        .unwrap();
    world
        .state
        .annotate(borrow(), "key-id".to_owned(), "k1".to_owned())
        .await
        .unwrap();
    world.state.set_expiry(borrow(), 99).await.unwrap();
    world
        .state
        .set_output(borrow(), "url".to_owned(), again(&output))
        .await
        .unwrap();
    {
        let before = world.memory.get();
        assert!(before.annotations.is_empty() && before.outputs.is_empty() && before.expires_at.is_none());
    }
    world.set_pending(&password).await.unwrap();
    world
        .state
        .annotate(borrow(), "later".to_owned(), "k2".to_owned())
        .await
        .unwrap();
    let after = world.memory.get();
    assert_eq!(
        (
            after.annotations["key-id"].as_str(),
            after.annotations["later"].as_str()
        ),
        ("k1", "k2")
    );
    assert!(after.outputs["url"].starts_with(b"user:"));
    assert_eq!(after.expires_at, Some(Timestamp::from_unix_ms(99)));
}

#[tokio::test]
async fn an_input_that_is_not_granted_or_not_named_is_refused_and_audited() {
    let mut world = world_with(StepName::Create, |step| {
        step.policy = std::sync::Arc::default();
    });
    let run = world.run();
    assert_eq!(
        code(world.state.input(run, "admin".to_owned()).await),
        "policy.denied"
    );
    let run = world.run();
    assert_eq!(code(world.state.current(run).await), "policy.denied");
    let run = world.run();
    assert_eq!(
        code(world.state.input(run, "other".to_owned()).await),
        "run.input"
    );
    let denied = world
        .memory
        .get()
        .facts
        .iter()
        .filter(|fact| matches!(fact, AuditFact::Denied { .. }))
        .count();
    assert_eq!(denied, 2);
    assert_eq!(world.state.into_report().denied.len(), 2);
}

#[tokio::test]
async fn idempotency_keys_differ_by_run_step_label_and_epoch_and_by_nothing_else() {
    async fn key(step: StepName, run: u64, epoch: u32, attempt: u32, label: &str) -> String {
        let mut world = world_with(step, |context| {
            context.run = RunId::from_number(run);
            context.epoch = Epoch(epoch);
            context.attempt = attempt;
        });
        let run = world.run();
        world.state.idempotency_key(run, label.to_owned()).await.unwrap()
    }
    let base = key(StepName::Create, 7, 1, 1, "a").await;
    assert_eq!(
        base,
        key(StepName::Create, 7, 1, 2, "a").await,
        "the same for every try"
    );
    for other in [
        key(StepName::Apply, 7, 1, 1, "a").await,
        key(StepName::Create, 8, 1, 1, "a").await,
        key(StepName::Create, 7, 2, 1, "a").await,
        key(StepName::Create, 7, 1, 1, "b").await,
    ] {
        assert_ne!(base, other);
    }
}
