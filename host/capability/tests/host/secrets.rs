//! Rules H3, H9, H10: no oracle, and nothing washes a label off.

use keywheel_capability::bindings::keywheel::core::secrets::{Host as _, HostSecret as _};
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_model::{Role, StepName};
use keywheel_target::scram;

use crate::world::{again, code, world, world_with};

#[tokio::test]
async fn one_way_forms_are_refused_for_what_a_plugin_composed_also_after_storage() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let composed = world
        .compose("text/plain", "guess", &password, "raw", "")
        .await
        .unwrap();
    assert_eq!(
        code(
            world
                .state
                .derive(again(&composed), "redis.sha256".to_owned(), String::new())
                .await
        ),
        "secret.derive"
    );
    world.set_pending(&composed).await.unwrap();
    let stored = world.pending().await;
    assert_eq!(
        code(
            world
                .state
                .derive(stored, "redis.sha256".to_owned(), String::new())
                .await
        ),
        "secret.derive"
    );
    let known = world.conceal("hunter2-hunter2").await;
    assert_eq!(
        code(
            world
                .state
                .derive(known, "redis.sha256".to_owned(), String::new())
                .await
        ),
        "secret.derive"
    );
}

#[tokio::test]
async fn a_form_of_a_form_is_refused() {
    let mut world = world(StepName::Apply);
    let current = world.current().await;
    let hash = world
        .state
        .derive(current, "redis.sha256".to_owned(), String::new())
        .await
        .unwrap();
    assert_eq!(
        code(
            world
                .state
                .derive(hash, "redis.sha256".to_owned(), String::new())
                .await
        ),
        "secret.derive"
    );
}

#[tokio::test]
async fn a_verifier_is_the_same_for_every_try_and_differs_by_version() {
    let mut verifiers = Vec::new();
    for identity in ["ver-1", "ver-1", "ver-2"] {
        let mut world = world(StepName::Apply);
        world.memory.keep(
            Wanted::Role(Role::Pending),
            identity,
            "planted-pending",
            Labels::imported("text/plain", Alphabet::Text),
        );
        let pending = world.pending().await;
        let derived = world
            .state
            .derive(
                pending,
                "postgres.scram-sha-256".to_owned(),
                r#"{"rounds": 4096}"#.to_owned(),
            )
            .await
            .unwrap();
        let value = world.state.handle(&derived).unwrap().value().duplicate();
        scram::check_verifier(&value).unwrap();
        verifiers.push(value.expose().to_vec());
    }
    assert_eq!(verifiers[0], verifiers[1]);
    assert_ne!(
        verifiers[0], verifiers[2],
        "the same password in two versions has two salts"
    );
}

#[tokio::test]
async fn the_salt_of_a_new_secret_is_that_of_its_version_once_it_is_stored() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    world.set_pending(&password).await.unwrap();
    let parameters = || ("postgres.scram-sha-256".to_owned(), String::new());
    let (algorithm, empty) = parameters();
    let before = world
        .state
        .derive(again(&password), algorithm, empty)
        .await
        .unwrap();
    let pending = world.pending().await;
    let (algorithm, empty) = parameters();
    let after = world.state.derive(pending, algorithm, empty).await.unwrap();
    let (before, after) = (
        world.state.handle(&before).unwrap(),
        world.state.handle(&after).unwrap(),
    );
    assert!(before.value().same_as(after.value()));
}

#[tokio::test]
async fn comparisons_have_a_budget_and_are_refused_for_what_the_guest_had_a_hand_in() {
    let mut world = world(StepName::Test);
    let (one, other) = (world.current().await, world.password().await);
    let known = world.conceal(crate::world::VALUE).await;
    let composed = world.compose("text/plain", "", &one, "raw", "").await.unwrap();
    for guess in [&known, &composed] {
        assert_eq!(
            code(world.state.matches(again(&one), again(guess)).await),
            "secret.matches"
        );
        assert_eq!(
            code(world.state.matches(again(guess), again(&one)).await),
            "secret.matches"
        );
    }
    assert_eq!(
        world.memory.get().comparisons_left,
        2,
        "a refusal costs nothing and tells nothing"
    );
    for _ in 0..2 {
        assert!(!world.state.matches(again(&one), again(&other)).await.unwrap());
    }
    assert_eq!(
        code(world.state.matches(again(&one), again(&other)).await),
        "secret.matches"
    );
}

#[tokio::test]
async fn ids_say_nothing_of_values_and_are_equal_for_one_version() {
    let mut world = world(StepName::Test);
    let (one, two) = (world.current().await, world.current().await);
    assert_eq!(world.id(&one).await, "ver-cur");
    assert_eq!(world.id(&two).await, "ver-cur");
    let (known, twin) = (
        world.conceal("same-bytes").await,
        world.conceal("same-bytes").await,
    );
    assert_ne!(world.id(&known).await, world.id(&twin).await);
}

#[tokio::test]
async fn conceal_is_bounded_and_tainted() {
    let mut world = world(StepName::Test);
    let known = world.conceal("hunter2").await;
    assert!(world.state.known_to_guest(known).await.unwrap());
    assert_eq!(
        code(
            world
                .state
                .conceal(vec![0; 1 << 20], "text/plain".to_owned())
                .await
        ),
        "secret.conceal"
    );
}

#[tokio::test]
async fn the_hosts_key_is_in_every_salt() {
    let mut verifiers = Vec::new();
    for key in [1, 2] {
        let mut world = world_with(StepName::Apply, |step| {
            step.sub_key = keywheel_model::SecretBytes::new(vec![key; 32]);
        });
        let current = world.current().await;
        let derived = world
            .state
            .derive(current, "postgres.scram-sha-256".to_owned(), String::new())
            .await
            .unwrap();
        verifiers.push(world.state.handle(&derived).unwrap().value().expose().to_vec());
    }
    assert_ne!(verifiers[0], verifiers[1]);
}
