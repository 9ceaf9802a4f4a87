//! Requests as a guest makes them: what goes out, what is refused before, what comes back.

use keywheel_capability::Error;
use keywheel_capability::bindings::keywheel::http::client::{Host as _, HostRequest, HostResponse};
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_model::{Effect, Role, StepName};
use wasmtime::component::Resource;

use crate::service::{Scene, json, same};
use crate::world::{VALUE, again, code};

#[tokio::test]
async fn what_the_target_issues_is_kept_and_the_guest_sees_the_declared_fields() {
    let answer = json(
        "201 Created",
        r#"{"key":"SG.issued-1","id":"k1","name":"kw-1","secret":"x"}"#,
    );
    let mut scene = Scene::open(StepName::Create, &answer);
    let request = scene.create().await;
    let state = &mut scene.world.state;
    HostRequest::idempotency_key(state, same(&request), "op-1".to_owned())
        .await
        .unwrap();
    let response = scene.send(request).await.unwrap();
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.contains("authorization: Bearer planted-admin\r\n"),
        "{asked}"
    );
    assert!(
        asked.contains("idempotency-key: op-1\r\n") && asked.contains("content-type: application/json\r\n")
    );
    assert_eq!(scene.body(&response).await, r#"{"id":"k1","name":"kw-1"}"#);
    let headers = |name: &str| (Resource::new_borrow(response.rep()), name.to_owned());
    for (name, shown) in [("Retry-After", &["7"][..]), ("x-more", &[])] {
        let (response, name) = headers(name);
        assert_eq!(
            HostResponse::header(&mut scene.world.state, response, name)
                .await
                .unwrap(),
            shown
        );
    }
    let kept = scene.world.memory.get().escrow.clone();
    assert_eq!(kept, [("key".to_owned(), b"SG.issued-1".to_vec())]);
    assert_eq!(scene.concluded(), (Effect::Applied, None));
    assert_eq!(
        scene.world.memory.get().intents[0].0.idempotency.as_deref(),
        Some("op-1")
    );
    let issued = scene.captured(&response).await.unwrap();
    scene.world.set_pending(&issued).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_the_value_fails_and_its_body_is_kept() {
    for body in [
        r#"{"id":"k1"}"#,
        r#"{"key":"a","key":"b"}"#,
        r#"{"key":7}"#,
        "<html>no</html>",
        r#"{"key":"SG."#,
    ] {
        let mut scene = Scene::open(StepName::Create, &json("201 Created", body));
        let request = scene.create().await;
        let failed = scene.send(request).await;
        let Err(Error::Answer(error)) = failed else {
            panic!("{body}")
        };
        assert_eq!(
            (error.code.as_str(), error.effect),
            ("http.capture", Effect::Applied),
            "{body}"
        );
        assert!(!error.message.contains("SG."));
        assert_eq!(
            scene.world.memory.get().escrow,
            [("http:body".to_owned(), body.into())]
        );
    }
}

#[tokio::test]
async fn an_answer_is_an_answer_whatever_its_status_is() {
    for (status, effect, seen) in [
        ("401 Unauthorized", Effect::None, 401),
        ("403 Forbidden", Effect::None, 403),
        ("429 Too Many Requests", Effect::None, 429),
        ("500 Oh", Effect::Maybe, 500),
        ("307 There", Effect::Maybe, 307),
    ] {
        let mut scene = Scene::open(StepName::Create, &json(status, r#"{"errors":["no"]}"#));
        let request = scene.create().await;
        let response = scene.send(request).await.unwrap();
        let shown = HostResponse::status(&mut scene.world.state, Resource::new_borrow(response.rep())).await;
        assert_eq!(shown.unwrap(), seen);
        assert_eq!(scene.body(&response).await, "");
        assert!(scene.captured(&response).await.is_none());
        assert_eq!(scene.concluded(), (effect, Some(format!("http.{seen}"))));
    }
}

/// Abuse case 7: plain, in base64, in an unusual spelling of JSON, in a field that is shown.
#[tokio::test]
async fn an_answer_that_holds_a_live_secret_is_withheld() {
    for said in [VALUE, "cGxhbnRlZC03ZjMtY3VycmVudA==", "\\u0070lanted-7f3-current"] {
        let answer = json(
            "201 Created",
            &format!(r#"{{"key":"SG.issued-1","id":"{said}"}}"#),
        );
        let mut scene = Scene::open(StepName::Create, &answer);
        scene.world.current().await;
        let request = scene.create().await;
        let stopped = scene.send(request).await;
        assert!(matches!(stopped, Err(Error::Stop(_))), "{said}");
        assert_eq!(scene.concluded().0, Effect::Applied);
        assert!(scene.world.state.into_report().reflection);
    }
    // The new one itself, where it was not looked for.
    let answer = json("201 Created", r#"{"key":"SG.issued-1","id":"SG.issued-1"}"#);
    let mut scene = Scene::open(StepName::Create, &answer);
    let request = scene.create().await;
    assert!(matches!(scene.send(request).await, Err(Error::Stop(_))));
}

#[tokio::test]
async fn a_recorded_answer_is_found_by_the_next_try() {
    let answer = json("201 Created", r#"{"key":"SG.issued-1","id":"k1"}"#);
    let mut scene = Scene::open(StepName::Create, &answer);
    assert!(
        scene
            .world
            .state
            .recall("made".to_owned())
            .await
            .unwrap()
            .is_none()
    );
    let request = scene.create().await;
    let state = &mut scene.world.state;
    HostRequest::record_as(state, same(&request), "made".to_owned())
        .await
        .unwrap();
    scene.send(request).await.unwrap();
    let kept = scene
        .world
        .memory
        .get()
        .state
        .values()
        .cloned()
        .collect::<Vec<_>>()
        .concat();
    assert!(!kept.is_empty() && !String::from_utf8(kept).unwrap().contains("SG.issued"));
    let recalled = scene
        .world
        .state
        .recall("made".to_owned())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(scene.body(&recalled).await, r#"{"id":"k1"}"#);
    let issued = scene.captured(&recalled).await.unwrap();
    scene.world.set_pending(&issued).await.unwrap();
    // What was recorded is of no use without the value.
    scene
        .world
        .memory
        .get()
        .secrets
        .remove(&Wanted::Escrow("key".to_owned()));
    assert!(
        scene
            .world
            .state
            .recall("made".to_owned())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_login_says_what_the_status_says() {
    for (status, result) in [
        ("200 OK", LoginResult::Accepted),
        ("401 Unauthorized", LoginResult::Rejected),
        ("403 Forbidden", LoginResult::Limited),
        ("429 Slow", LoginResult::Unknown),
        ("302 Found", LoginResult::Unknown),
        ("500 Oh", LoginResult::Unknown),
    ] {
        let mut scene = Scene::open(StepName::Test, &json(status, r#"{"scopes":["a"]}"#));
        let labels = Labels::imported("text/plain", Alphabet::Text);
        scene
            .world
            .memory
            .keep(Wanted::Role(Role::Subject), "ver-new", "SG.subject-1", labels);
        let run = scene.world.run();
        let subject = scene.world.state.subject(run).await.unwrap();
        let request = scene.request("GET", "/who").await;
        HostRequest::bearer(&mut scene.world.state, same(&request), again(&subject))
            .await
            .unwrap();
        scene.send(request).await.unwrap();
        assert_eq!(
            scene.world.state.into_report().subject_login(),
            Some(result),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_secret_goes_where_it_is_declared_and_nowhere_else() {
    let mut scene = Scene::open(StepName::Apply, "");
    let mut refused = Vec::new();
    for (method, path) in [("POST", "/other"), ("PUT", "/keys"), ("DELETE", "/keys/a/b")] {
        let request = scene.request(method, path).await;
        scene.bearer(&request).await;
        refused.push(code(scene.send(request).await));
    }
    let request = scene.request("DELETE", "/keys/k1").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::secret_query(state, same(&request), "q".to_owned(), again(&admin))
        .await
        .unwrap();
    refused.push(code(scene.send(request).await));
    assert_eq!(refused, ["shape.none"; 4]);
    assert!(scene.world.memory.get().intents.is_empty());
    assert!(scene.asked.try_recv().is_err());
}

/// Abuse case 1: another port, another scheme.
#[tokio::test]
async fn only_a_granted_host_is_asked_even_without_a_secret() {
    let mut scene = Scene::open(StepName::Plan, "");
    let port = scene.port;
    for url in [
        format!("http://localhost:{}/", port ^ 1),
        format!("https://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://metadata.google.internal/".to_owned(),
    ] {
        let request = HostRequest::new(&mut scene.world.state, "GET".to_owned(), url.clone())
            .await
            .unwrap();
        assert_eq!(code(scene.send(request).await), "policy.denied", "{url}");
    }
    assert!(scene.asked.try_recv().is_err());
}

#[tokio::test]
async fn plan_gets_and_changes_nothing() {
    let mut scene = Scene::open(StepName::Plan, &json("200 OK", r#"{"a":1}"#));
    let request = scene.request("POST", "/free").await;
    assert_eq!(code(scene.send(request).await), "step.effect");
    let request = scene.create().await;
    assert_eq!(code(scene.send(request).await), "step.effect");
    let request = scene.request("GET", "/free").await;
    let response = scene.send(request).await.unwrap();
    assert_eq!(scene.body(&response).await, r#"{"a":1}"#);
}

#[tokio::test]
async fn a_composed_body_and_a_signature_go_to_their_places() {
    let mut scene = Scene::open(StepName::Apply, &json("200 OK", "{}"));
    let current = scene.world.current().await;
    let document = scene
        .world
        .compose(
            "application/json",
            r#"{"note":"n","key":""#,
            &current,
            "json",
            "\"}",
        )
        .await
        .unwrap();
    let request = scene.request("POST", "/push").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::secret_body(state, same(&request), again(&document))
        .await
        .unwrap();
    let parameters = r#"{"header":"X-Signature"}"#.to_owned();
    HostRequest::sign(
        state,
        same(&request),
        "hmac-sha256".to_owned(),
        parameters,
        again(&admin),
    )
    .await
    .unwrap();
    scene.send(request).await.unwrap();
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.ends_with(&format!("\r\n\r\n{{\"note\":\"n\",\"key\":\"{VALUE}\"}}")),
        "{asked}"
    );
    assert!(asked.contains("\r\nx-signature: t=1000,v1="), "{asked}");
    assert!(!asked.contains("planted-admin"));
}

#[tokio::test]
async fn basic_and_a_parameter_are_written_as_they_have_to_be() {
    let mut scene = Scene::open(
        StepName::Plan,
        &json("200 OK", r#"{"result":[{"id":"a","key":"x"}]}"#),
    );
    let request = scene.request("GET", "/keys").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::query(state, same(&request), "page".to_owned(), "a b&c".to_owned())
        .await
        .unwrap();
    HostRequest::basic(state, same(&request), "app".to_owned(), again(&admin))
        .await
        .unwrap();
    let response = scene.send(request).await.unwrap();
    assert_eq!(scene.body(&response).await, r#"{"result":[{"id":"a"}]}"#);
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.starts_with("GET /keys?page=a%20b%26c HTTP/1.1\r\n"),
        "{asked}"
    );
    // app:planted-admin
    assert!(
        asked.contains("authorization: Basic YXBwOnBsYW50ZWQtYWRtaW4=\r\n"),
        "{asked}"
    );
}

/// What only looks leaves nothing in doubt, whether it was answered or not.
#[tokio::test]
async fn a_lost_answer_is_in_doubt_only_where_something_could_change() {
    for (is_create, effect) in [(true, Effect::Maybe), (false, Effect::None)] {
        let step = if is_create {
            StepName::Create
        } else {
            StepName::Plan
        };
        let mut scene = Scene::open(step, "HTTP/1.1 201 Cre");
        let request = if is_create {
            scene.create().await
        } else {
            scene.request("GET", "/free").await
        };
        let Err(Error::Answer(error)) = scene.send(request).await else {
            panic!("it was answered")
        };
        assert_eq!(error.effect, effect, "{error:?}");
    }
}

/// Abuse case 6: nothing becomes a line of its own, and a key that no header carries is not sent.
#[tokio::test]
async fn what_would_break_out_of_a_header_is_refused_with_its_own_error() {
    let mut scene = Scene::open(StepName::Create, "");
    let request = scene.request("GET", "/free").await;
    let state = &mut scene.world.state;
    for (name, value) in [
        ("x", "a\r\nb: c"),
        ("x:y", "a"),
        ("Host", "evil"),
        ("Range", "bytes=0-1"),
        ("x", "é"),
    ] {
        let set = HostRequest::header(state, same(&request), name.to_owned(), value.to_owned()).await;
        assert_eq!(code(set), "http.header", "{name} {value}");
    }
    let user = HostRequest::basic(state, same(&request), "a:b".to_owned(), Resource::new_borrow(0)).await;
    assert_eq!(code(user), "http.user");
    let labels = Labels::imported("text/plain", Alphabet::Text);
    scene.world.memory.keep(
        Wanted::Input("admin".to_owned()),
        "ver-bad",
        "planted\r\nX-Admin: 1",
        labels,
    );
    let request = scene.create().await;
    let refused = scene.send(request).await;
    assert_eq!(code(refused), "http.secret");
    assert!(scene.asked.try_recv().is_err() && scene.world.memory.get().intents.is_empty());
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let mut scene = Scene::open(StepName::Create, "");
    let request = scene.create().await;
    HostRequest::follow_redirects(&mut scene.world.state, same(&request), 3)
        .await
        .unwrap();
    assert_eq!(code(scene.send(request).await), "host.not-offered");
    let request = scene.request("GET", "/free").await;
    let admin = scene.admin().await;
    let state = &mut scene.world.state;
    HostRequest::sign(
        state,
        same(&request),
        "azure.shared-key".to_owned(),
        "{}".to_owned(),
        again(&admin),
    )
    .await
    .unwrap();
    assert_eq!(code(scene.send(request).await), "http.sign");
}
