//! Logins whose answers say more than their status, whom they are of, and answers in XML.

use keywheel_capability::Error;
use keywheel_capability::bindings::keywheel::core::secrets::HostSecret;
use keywheel_capability::bindings::keywheel::http::client::HostRequest;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::http::Response;
use keywheel_capability::port::Wanted;
use keywheel_capability::report::LoginResult;
use keywheel_model::{Role, StepName};
use wasmtime::component::Resource;

use crate::service::{Scene, json, same};
use crate::world::{again, code};

const KEY: &str = r#"{"access_key_id":"AKIAEXAMPLE1","secret_access_key":"planted/secret+key"}"#;

fn xml(status: &str, body: &str) -> String {
    json(status, body).replace("application/json", "text/xml")
}

fn subject(scene: &Scene, value: &str, media: &str) {
    let labels = Labels::imported(media, Alphabet::Text);
    scene
        .world
        .memory
        .keep(Wanted::Role(Role::Subject), "ver-new", value, labels);
}

async fn whoami(scene: &mut Scene, user: &str, part: Option<&str>) -> Result<Resource<Response>, Error> {
    let run = scene.world.run();
    let mut password = scene.world.state.subject(run).await.unwrap();
    if let Some(part) = part {
        let state = &mut scene.world.state;
        password = HostSecret::part(state, again(&password), "json".to_owned(), part.to_owned())
            .await
            .unwrap();
    }
    let request = scene.request("GET", "/whoami").await;
    HostRequest::basic(
        &mut scene.world.state,
        same(&request),
        user.to_owned(),
        again(&password),
    )
    .await
    .unwrap();
    scene.send(request).await
}

#[tokio::test]
async fn what_its_words_say_counts_before_its_status() {
    for (status, body, result) in [
        ("401 No", r#"{"reason":"no right"}"#, LoginResult::Accepted),
        ("401 No", r#"{"reason":"no right at all"}"#, LoginResult::Rejected),
        ("401 No", r#"{"reason":["no right"]}"#, LoginResult::Rejected),
        (
            "401 No",
            r#"{"reason":"no right","reason":"x"}"#,
            LoginResult::Rejected,
        ),
        ("403 No", r#"{"reason":"no right"}"#, LoginResult::Limited),
        ("401 No", "no right", LoginResult::Rejected),
    ] {
        let mut scene = Scene::open(StepName::Test, &json(status, body));
        subject(&scene, "planted-new-1", "text/plain");
        whoami(&mut scene, "app", None).await.unwrap();
        let seen = scene.world.state.into_report().subject_login();
        assert_eq!(seen, Some(result), "{status} {body}");
    }
}

/// A server refuses the right password of another user.
#[tokio::test]
async fn the_secret_of_one_user_is_proved_as_that_user() {
    for (own, proof) in [("app", Some(LoginResult::Rejected)), ("other", None)] {
        let mut scene = Scene::open(StepName::Test, &json("401 No", "{}"));
        let document = format!(r#"{{"username":"{own}","password":"planted-new-1"}}"#);
        subject(&scene, &document, "application/json");
        whoami(&mut scene, "app", Some("/password")).await.unwrap();
        assert_eq!(scene.world.state.into_report().subject_login(), proof, "{own}");
    }
}

async fn caller(scene: &mut Scene, parameters: &str) -> Result<Resource<Response>, Error> {
    let run = scene.world.run();
    let subject = scene.world.state.subject(run).await.unwrap();
    let request = scene.request("POST", "/").await;
    let state = &mut scene.world.state;
    let scheme = "aws.sigv4".to_owned();
    HostRequest::sign(
        state,
        same(&request),
        scheme,
        parameters.to_owned(),
        again(&subject),
    )
    .await
    .unwrap();
    let selector = "xml:/New/Secret".to_owned();
    let kind = "text/plain".to_owned();
    HostRequest::capture(state, same(&request), "key".to_owned(), selector, kind)
        .await
        .unwrap();
    scene.send(request).await
}

const WHERE: &str = r#"{"region":"r","service":"s"}"#;

#[tokio::test]
async fn a_document_signs_by_its_own_id_and_what_is_issued_in_xml_is_captured() {
    let answer = xml(
        "200 OK",
        "<?xml version='1.0'?><New xmlns='urn:x'><Id>k1</Id><Secret>issued+1/2</Secret><More>m</More></New>",
    );
    let mut scene = Scene::open(StepName::Test, &answer);
    subject(&scene, KEY, "text/plain");
    let response = caller(&mut scene, WHERE).await.unwrap();
    let asked = scene.asked.recv().unwrap();
    assert!(
        asked.contains("authorization: AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE1/"),
        "{asked}"
    );
    assert!(!asked.contains("planted"), "{asked}");
    assert_eq!(
        scene.body(&response).await,
        r#"{"New":{"Id":"k1","Secret":"[captured]"}}"#
    );
    let kept = scene.world.memory.get().escrow.clone();
    assert_eq!(kept, [("key".to_owned(), b"issued+1/2".to_vec())]);
    assert_eq!(
        scene.world.state.into_report().subject_login(),
        Some(LoginResult::Accepted)
    );
}

#[tokio::test]
async fn a_refusal_in_xml_is_told_from_a_lack_of_rights() {
    for (said, result) in [
        ("<Error><Code>Unknown</Code></Error>", LoginResult::Rejected),
        ("<Error><Code>Denied</Code></Error>", LoginResult::Limited),
        (
            "<Error><Code>Unknown</Code><Code>Unknown</Code></Error>",
            LoginResult::Limited,
        ),
        (
            "<!DOCTYPE a><Error><Code>Unknown</Code></Error>",
            LoginResult::Limited,
        ),
    ] {
        let mut scene = Scene::open(StepName::Test, &xml("403 No", said));
        subject(&scene, KEY, "text/plain");
        caller(&mut scene, WHERE).await.unwrap();
        let seen = scene.world.state.into_report().subject_login();
        assert_eq!(seen, Some(result), "{said}");
    }
}

#[tokio::test]
async fn nobody_signs_as_another_one() {
    let other = r#"{"region":"r","service":"s","key-id":"AKIAOTHER"}"#;
    for (value, parameters) in [(KEY, other), ("planted-bare-key", WHERE)] {
        let mut scene = Scene::open(StepName::Test, "");
        subject(&scene, value, "text/plain");
        assert_eq!(code(caller(&mut scene, parameters).await), "http.sign");
        assert!(scene.asked.try_recv().is_err());
    }
}
