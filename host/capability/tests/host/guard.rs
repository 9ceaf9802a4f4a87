//! What reaches a target: rules H1, H2, H8, H13, the write-ahead rule, and the effects of steps.

use keywheel_capability::bindings::keywheel::core::runtime::Host as _;
use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::guard::{Begun, Ended, Peer};
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_capability::{Error, Handle};
use keywheel_manifest::{Call, Piece, ShapeEffect};
use keywheel_model::{Effect, Role, StepName};
use keywheel_policy::Transport;
use wasmtime::component::Resource;

use crate::world::{World, again, code, peer, policy_with, world, world_with};

/// `ALTER ROLE "app" PASSWORD <secret>`, or other words around it.
async fn statement(
    world: &mut World,
    words: &str,
    role: Option<&str>,
    secret: &Resource<Handle>,
) -> Result<Begun, Error> {
    let handle = world.state.handle(secret).unwrap();
    let mut pieces = vec![Piece::text(words)];
    if let Some(role) = role {
        pieces.extend([Piece::Identifier(role.to_owned()), Piece::text(" PASSWORD ")]);
    }
    pieces.push(Piece::Secret(world.state.secret_use(&handle)));
    let call = Call::Statement {
        dialect: "postgres".to_owned(),
        pieces,
    };
    world.state.admit(&call, &[handle], &peer(), false).await
}

async fn alter(world: &mut World, secret: &Resource<Handle>) -> Result<Begun, Error> {
    statement(world, "ALTER ROLE ", Some("app"), secret).await
}

/// Declared, and not granted.
async fn stash(world: &mut World, secret: &Resource<Handle>) -> Result<Begun, Error> {
    let handle = world.state.handle(secret).unwrap();
    let pieces = vec![
        Piece::text("CALL stash("),
        Piece::Secret(world.state.secret_use(&handle)),
        Piece::text(")"),
    ];
    let call = Call::Statement {
        dialect: "postgres".to_owned(),
        pieces,
    };
    world.state.admit(&call, &[handle], &peer(), false).await
}

async fn login(world: &mut World, user: &str, secret: &Resource<Handle>) -> Result<Begun, Error> {
    let handle = world.state.handle(secret).unwrap();
    let call = Call::Login {
        driver: "postgres".to_owned(),
        user: user.to_owned(),
        password: world.state.secret_use(&handle),
    };
    world.state.admit(&call, &[handle], &peer(), true).await
}

fn with_pending(world: &World) {
    world.memory.keep(
        Wanted::Role(Role::Pending),
        "ver-pen",
        "planted-pending",
        Labels::generated("text/plain", Alphabet::Text),
    );
}

async fn verifier(world: &mut World) -> Resource<Handle> {
    let pending = world.pending().await;
    world
        .state
        .derive(pending, "postgres.scram-sha-256".to_owned(), String::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_declared_and_granted_statement_goes_out_with_its_intent_first() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let verifier = verifier(&mut world).await;
    let begun = alter(&mut world, &verifier).await.unwrap();
    assert_eq!(
        (begun.call().shape.as_deref(), begun.call().effect),
        (Some("set"), ShapeEffect::Set)
    );
    {
        let inner = world.memory.get();
        let (intent, conclusion) = &inner.intents[0];
        assert_eq!(
            (intent.destination.as_str(), intent.shape.as_deref(), conclusion),
            ("db.internal:5432", Some("set"), &None)
        );
    }
    world
        .state
        .conclude(begun, Ended::with(Effect::Applied))
        .await
        .unwrap();
    assert_eq!(
        world.memory.get().intents[0].1.as_ref().unwrap().effect,
        Effect::Applied
    );
    assert_eq!(world.state.into_report().effect(), Effect::Applied);
}

#[tokio::test]
async fn a_statement_that_no_shape_declares_is_refused_before_anything_is_sent_with_the_lines_to_add() {
    let mut world = world(StepName::Apply);
    let current = world.current().await;
    let advice = [
        ("SELECT substr(", "none can"),
        ("INSERT INTO stolen VALUES (", "add to manifest.toml"),
    ];
    for (words, advice) in advice {
        let Err(Error::Answer(error)) = statement(&mut world, words, None, &current).await else {
            panic!("it went out")
        };
        assert!(error.message.contains(advice), "{}", error.message);
        assert!(!error.message.contains(crate::world::VALUE));
    }
    // The right shape in another place: another role, and the plaintext instead of the verifier.
    with_pending(&world);
    let verifier = verifier(&mut world).await;
    assert_eq!(
        code(statement(&mut world, "ALTER ROLE ", Some("postgres"), &verifier).await),
        "shape.none"
    );
    let pending = world.pending().await;
    assert_eq!(code(alter(&mut world, &pending).await), "shape.none");
    assert!(world.memory.get().intents.is_empty());
}

#[tokio::test]
async fn a_declared_shape_that_the_grant_does_not_pin_is_refused() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let pending = world.pending().await;
    let Err(Error::Answer(error)) = stash(&mut world, &pending).await else {
        panic!("it went out")
    };
    assert_eq!(error.code, "policy.denied");
    assert!(
        error.message.contains("not-granted = \"sha256:"),
        "{}",
        error.message
    );
    assert!(world.memory.get().intents.is_empty());
}

#[tokio::test]
async fn another_peer_or_the_same_without_tls_is_refused() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let verifier = verifier(&mut world).await;
    let handle = world.state.handle(&verifier).unwrap();
    let pieces = vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app".to_owned()),
        Piece::text(" PASSWORD "),
        Piece::Secret(world.state.secret_use(&handle)),
    ];
    let call = Call::Statement {
        dialect: "postgres".to_owned(),
        pieces,
    };
    for peer in [
        Peer {
            host: "evil.example".to_owned(),
            ..peer()
        },
        Peer { port: 5433, ..peer() },
        Peer {
            transport: Transport::Plaintext,
            ..peer()
        },
    ] {
        assert_eq!(
            code(
                world
                    .state
                    .admit(&call, std::slice::from_ref(&handle), &peer, false)
                    .await
            ),
            "policy.denied",
            "{peer}"
        );
    }
}

#[tokio::test]
async fn a_generated_secret_and_what_is_made_of_it_wait_until_it_is_durable() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let derived = world
        .state
        .derive(
            again(&password),
            "postgres.scram-sha-256".to_owned(),
            String::new(),
        )
        .await
        .unwrap();
    let composed = world
        .compose("text/plain", "x", &password, "raw", "")
        .await
        .unwrap();
    for secret in [&password, &derived, &composed] {
        assert_eq!(code(alter(&mut world, secret).await), "secret.not-durable");
    }
    // A store that is full makes nothing durable.
    world.memory.get().full = true;
    assert_eq!(code(world.set_pending(&password).await), "store.full");
    world.memory.get().full = false;
    assert_eq!(code(alter(&mut world, &password).await), "secret.not-durable");
    world.set_pending(&password).await.unwrap();
    let derived = world
        .state
        .derive(
            again(&password),
            "postgres.scram-sha-256".to_owned(),
            String::new(),
        )
        .await
        .unwrap();
    alter(&mut world, &derived).await.map(drop).unwrap();
}

#[tokio::test]
async fn a_secret_in_state_is_durable_and_has_its_own_place() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    world
        .state
        .set_secret_state("kept".to_owned(), again(&password))
        .await
        .unwrap();
    alter(&mut world, &password).await.map(drop).unwrap();
}

#[tokio::test]
async fn a_part_of_the_pending_document_is_declared_as_that_part() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let document = world.document(&password).await;
    world.set_pending(&document).await.unwrap();
    // The very handle that was put in, and the one that is taken out again later.
    alter(&mut world, &password).await.map(drop).unwrap();
    let stored = world.pending().await;
    let part = world
        .state
        .part(stored, "json".to_owned(), "/password".to_owned())
        .await
        .unwrap();
    alter(&mut world, &part).await.map(drop).unwrap();
    assert_eq!(
        code(alter(&mut world, &document).await),
        "shape.none",
        "the whole is not its part"
    );
}

#[tokio::test]
async fn what_the_guest_may_know_reaches_no_target_by_way_of_state() {
    let mut world = world(StepName::Create);
    let known = world.conceal("hunter2-hunter2").await;
    world
        .state
        .set_secret_state("kept".to_owned(), again(&known))
        .await
        .unwrap();
    assert_eq!(code(alter(&mut world, &known).await), "secret.sink");
    let loaded = world
        .state
        .get_secret_state("kept".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        code(alter(&mut world, &loaded).await),
        "secret.sink",
        "taint persists"
    );
    let current = world.current().await;
    let half_known = world
        .compose("text/plain", "", &current, "raw", "")
        .await
        .unwrap();
    assert_eq!(
        code(alter(&mut world, &half_known).await),
        "shape.unplaced-secret",
        "a composed secret has no place"
    );
}

/// Text by the plugin alone may flow anywhere by its sinks, and has a place once it is kept: what it holds is what stops it.
#[tokio::test]
async fn text_of_the_plugin_is_no_credential_on_a_target_also_where_it_has_a_place() {
    let mut world = world(StepName::Create);
    let text = world.text_alone("hunter2-hunter2").await;
    let kept = "kept".to_owned();
    world
        .state
        .set_secret_state(kept.clone(), again(&text))
        .await
        .unwrap();
    let loaded = world.state.get_secret_state(kept).await.unwrap().unwrap();
    assert_eq!(code(alter(&mut world, &text).await), "secret.known");
    assert_eq!(
        code(alter(&mut world, &loaded).await),
        "secret.known",
        "taint persists"
    );
}

/// Making a version is not yet being allowed to use it: the grant is asked when it is sent, wherever the handle came from.
#[tokio::test]
async fn a_secret_that_was_made_here_needs_the_grant_of_the_version_that_it_became() {
    for (secrets, is_granted) in [(r#""{input:admin}""#, false), (r#""{secret}""#, true)] {
        let mut world = world_with(StepName::Create, |step| {
            step.policy = std::sync::Arc::new(policy_with(&step.manifest, secrets));
        });
        let password = world.password().await;
        world.set_pending(&password).await.unwrap();
        let scram = "postgres.scram-sha-256".to_owned();
        let derived = world
            .state
            .derive(again(&password), scram, String::new())
            .await
            .unwrap();
        let sent = alter(&mut world, &derived).await;
        if is_granted {
            sent.map(drop).unwrap();
        } else {
            assert_eq!(code(sent), "policy.denied");
            assert!(world.memory.get().intents.is_empty());
        }
    }
}

#[tokio::test]
async fn plan_and_test_may_not_set_and_a_restored_state_may_not_delete() {
    for step in [StepName::Plan, StepName::Test] {
        let mut world = world(step);
        with_pending(&world);
        let verifier = verifier(&mut world).await;
        assert_eq!(code(alter(&mut world, &verifier).await), "step.effect");
        assert_eq!(
            code(world.state.permit_undeclared("net", &peer()).await),
            "step.effect"
        );
        assert!(world.memory.get().intents.is_empty());
    }
    for (restored, allowed) in [(true, false), (false, true)] {
        let mut world = world_with(StepName::Revoke, |step| step.restored = restored);
        world.memory.keep(
            Wanted::Role(Role::Previous),
            "ver-pre",
            "planted-previous",
            Labels::generated("text/plain", Alphabet::Text),
        );
        let run = world.run();
        let previous = world.state.previous(run).await.unwrap().unwrap();
        assert_eq!(alter(&mut world, &previous).await.is_ok(), allowed);
    }
}

#[tokio::test]
async fn a_login_in_plan_is_refused_and_in_test_it_is_the_proof() {
    for (step, allowed) in [(StepName::Plan, false), (StepName::Test, true)] {
        let mut world = world(step);
        world.memory.keep(
            Wanted::Role(Role::Subject),
            "ver-cur",
            crate::world::VALUE,
            Labels::imported("text/plain", Alphabet::Text),
        );
        let run = world.run();
        let subject = world.state.subject(run).await.unwrap();
        let begun = login(&mut world, "app", &subject).await;
        assert_eq!(begun.is_ok(), allowed);
        let Ok(begun) = begun else { continue };
        assert_eq!(code(login(&mut world, "other", &subject).await), "shape.none");
        let ended = Ended {
            effect: Effect::None,
            login: Some(LoginResult::Rejected),
            code: Some("sql.28p01".to_owned()),
        };
        world.state.conclude(begun, ended).await.unwrap();
        let report = world.state.into_report();
        assert_eq!(
            (report.subject_login(), report.effect()),
            (Some(LoginResult::Rejected), Effect::None)
        );
    }
}

#[tokio::test]
async fn a_login_that_was_never_answered_proves_nothing() {
    let mut world = world(StepName::Test);
    world.memory.keep(
        Wanted::Role(Role::Subject),
        "ver-cur",
        crate::world::VALUE,
        Labels::imported("text/plain", Alphabet::Text),
    );
    let run = world.run();
    let subject = world.state.subject(run).await.unwrap();
    drop(login(&mut world, "app", &subject).await.unwrap());
    assert_eq!(
        world.state.into_report().subject_login(),
        Some(LoginResult::Unknown)
    );
}

#[tokio::test]
async fn a_call_that_is_never_concluded_counts_as_maybe() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let verifier = verifier(&mut world).await;
    drop(alter(&mut world, &verifier).await.unwrap());
    let report = world.state.into_report();
    assert_eq!(report.worse_of(Effect::None), Effect::Maybe);
}

#[tokio::test]
async fn without_a_journal_nothing_is_sent() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let verifier = verifier(&mut world).await;
    world.memory.get().full = true;
    assert_eq!(code(alter(&mut world, &verifier).await), "store.full");
    assert_eq!(world.state.into_report().effect(), Effect::None);
}

#[tokio::test]
async fn a_call_described_with_another_secrets_roles_is_not_believed() {
    let mut world = world(StepName::Apply);
    with_pending(&world);
    let (verifier, current) = (verifier(&mut world).await, world.current().await);
    let (verifier, current) = (
        world.state.handle(&verifier).unwrap(),
        world.state.handle(&current).unwrap(),
    );
    let pieces = vec![
        Piece::text("ALTER ROLE "),
        Piece::Identifier("app".to_owned()),
        Piece::text(" PASSWORD "),
        Piece::Secret(world.state.secret_use(&verifier)),
    ];
    let call = Call::Statement {
        dialect: "postgres".to_owned(),
        pieces,
    };
    assert!(matches!(
        world.state.admit(&call, &[current], &peer(), false).await,
        Err(Error::Host(_))
    ));
}

#[tokio::test]
async fn a_package_that_the_manifest_does_not_list_is_refused() {
    let mut world = world(StepName::Apply);
    assert_eq!(
        code(
            world
                .state
                .permit_package(keywheel_manifest::Capability::Http)
                .await
        ),
        "manifest.capability"
    );
    world
        .state
        .permit_package(keywheel_manifest::Capability::Sql)
        .await
        .unwrap();
}
