//! What a login proves (rule H7): two users take turns, and the subject names the one that it is the password of.

use std::sync::Arc;

use keywheel_capability::Handle;
use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::guard::Ended;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_manifest::{Call, FrameToken, Framing, Piece, SecretUse};
use keywheel_model::{Effect, Role, StepName, Verdict};

use crate::world::{World, again, peer, world_with};

type Called = fn(&str, SecretUse) -> Call;

const RESULTS: [(LoginResult, Verdict); 2] = [
    (LoginResult::Accepted, Verdict::Accepted),
    (LoginResult::Rejected, Verdict::Rejected),
];

fn sql(user: &str, password: SecretUse) -> Call {
    Call::Login {
        driver: "postgres".to_owned(),
        user: user.to_owned(),
        password,
    }
}

fn auth(user: &str, password: SecretUse) -> Call {
    let element = |pieces| FrameToken::Element { tag: None, pieces };
    Call::Frame {
        framing: Framing::Resp,
        tokens: vec![
            element(vec![Piece::text("AUTH")]),
            element(vec![Piece::text(user)]),
            element(vec![Piece::Secret(password)]),
        ],
    }
}

/// A step `test` whose subject is this document, and the handle of its password.
async fn subject(document: &str) -> (World, Handle) {
    let users = serde_json::json!({"user": "app", "users": ["app", "other"]});
    let mut world = world_with(StepName::Test, |step| step.config = Arc::new(users));
    let (media_type, format, key) = if document.starts_with('{') {
        ("application/json", "json", "/password")
    } else {
        ("text/plain", "connection-string", "password")
    };
    world.memory.keep(
        Wanted::Role(Role::Subject),
        "ver-pre",
        document,
        Labels::imported(media_type, Alphabet::Text),
    );
    let run = world.run();
    let whole = world.state.subject(run).await.unwrap();
    let part = world
        .state
        .part(again(&whole), format.to_owned(), key.to_owned())
        .await
        .unwrap();
    let handle = world.state.handle(&part).unwrap();
    (world, handle)
}

/// What the host vouches for when the plugin says this, and the server said that to each login.
async fn vouched_after(
    document: &str,
    user: &str,
    call: Called,
    results: &[LoginResult],
    claimed: Verdict,
) -> Verdict {
    let (mut world, password) = subject(document).await;
    for result in results {
        let call = call(user, world.state.secret_use(&password));
        let handles = std::slice::from_ref(&password);
        let begun = world.state.admit(&call, handles, &peer(), true).await.unwrap();
        let ended = Ended {
            effect: Effect::None,
            login: Some(*result),
            code: None,
        };
        world.state.conclude(begun, ended).await.unwrap();
    }
    world.state.into_report().vouched(claimed)
}

/// The same for one login, where the plugin says what the server said.
async fn vouched(
    document: &str,
    user: &str,
    call: Called,
    (result, verdict): (LoginResult, Verdict),
) -> Verdict {
    vouched_after(document, user, call, &[result], verdict).await
}

#[tokio::test]
async fn of_several_logins_each_has_to_bear_the_verdict_out_in_either_order() {
    let document = r#"{"username": "app", "password": "planted-previous"}"#;
    for call in [sql, auth] {
        for (result, verdict) in RESULTS {
            let agreed = vouched_after(document, "app", call, &[result, result], verdict.clone()).await;
            assert_eq!(agreed, verdict);
            for other in [LoginResult::Accepted, LoginResult::Rejected, LoginResult::Unsent] {
                for results in [[result, other], [other, result]]
                    .into_iter()
                    .filter(|_| other != result)
                {
                    let mixed = vouched_after(document, "app", call, &results, verdict.clone()).await;
                    assert!(matches!(mixed, Verdict::Unknown(_)), "{results:?}: {mixed:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_login_as_another_user_than_the_subjects_proves_nothing() {
    let documents = [
        r#"{"username": "app", "password": "planted-previous"}"#,
        "redis://app:planted-previous@cache.internal",
    ];
    for (document, call) in documents
        .into_iter()
        .flat_map(|document| [(document, sql as Called), (document, auth)])
    {
        for (result, verdict) in RESULTS {
            let own = vouched(document, "app", call, (result, verdict.clone())).await;
            assert_eq!(own, verdict);
            let other = vouched(document, "other", call, (result, verdict.clone())).await;
            assert!(matches!(other, Verdict::Unknown(_)), "{other:?}");
        }
    }
}

#[tokio::test]
async fn a_subject_that_names_no_user_proves_as_any_declared_one() {
    for call in [sql, auth] {
        for (result, verdict) in RESULTS {
            for document in [
                r#"{"password": "planted-previous"}"#,
                "redis://:planted-previous@cache.internal",
                "host=db password=planted-previous",
            ] {
                let vouched = vouched(document, "other", call, (result, verdict.clone())).await;
                assert_eq!(vouched, verdict, "{document}");
            }
        }
    }
}
