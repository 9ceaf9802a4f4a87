//! Parts of connection strings: the same rules as for documents, where the text says less of what it is.

use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::{Error, Handle};
use keywheel_model::{Role, StepName};
use wasmtime::component::Resource;

use crate::world::{World, again, code, world, world_with};

const BEFORE: &str = "Server=db.internal;User ID=app;Pwd=";
const AFTER: &str = " ; Application Name='the \"shop\"'";
const QUOTED: &str = "\"p'imp;orted-1\"";
const MEDIA_TYPE: &str = "application/vnd.keywheel.connection-string";

fn imported(world: &World) {
    keep(
        world,
        &format!("{BEFORE}{QUOTED}{AFTER}"),
        Labels::imported("text/plain", Alphabet::Text),
    );
}

fn keep(world: &World, value: &str, labels: Labels) {
    world
        .memory
        .keep(Wanted::Role(Role::Current), "ver-str", value, labels);
}

async fn part(world: &mut World, whole: &Resource<Handle>, key: &str) -> Result<Resource<Handle>, Error> {
    let format = "connection-string".to_owned();
    world.state.part(again(whole), format, key.to_owned()).await
}

async fn public(world: &mut World, whole: &Resource<Handle>, key: &str) -> Result<String, Error> {
    let format = "connection-string".to_owned();
    world
        .state
        .public_part(again(whole), format, key.to_owned())
        .await
}

async fn with(
    world: &mut World,
    whole: &Resource<Handle>,
    key: &str,
    value: &Resource<Handle>,
) -> Result<Resource<Handle>, Error> {
    let (format, value) = ("connection-string".to_owned(), again(value));
    world
        .state
        .with_part(again(whole), format, key.to_owned(), value)
        .await
}

async fn with_text(
    world: &mut World,
    whole: &Resource<Handle>,
    key: &str,
    text: &str,
) -> Result<Resource<Handle>, Error> {
    let (format, text) = ("connection-string".to_owned(), text.to_owned());
    world
        .state
        .with_part_text(again(whole), format, key.to_owned(), text)
        .await
}

fn value(world: &World, secret: &Resource<Handle>) -> String {
    let handle = world.state.handle(secret).unwrap();
    String::from_utf8(handle.value().expose().to_vec()).unwrap()
}

#[tokio::test]
async fn the_new_password_is_the_secret_that_it_was_under_each_of_its_names_and_after_storage() {
    let mut world = world(StepName::Create);
    imported(&world);
    let (whole, password) = (world.current().await, world.password().await);
    let renamed = with_text(&mut world, &whole, "user", "app b").await.unwrap();
    let made = with(&mut world, &renamed, "PASSWORD", &password).await.unwrap();
    let text = value(&world, &made);
    let new = BEFORE.replace("app", "\"app b\"") + &value(&world, &password) + AFTER;
    assert_eq!(text, new);
    world.set_pending(&made).await.unwrap();
    let stored = world.pending().await;
    for key in ["password", "Pwd"] {
        let before = part(&mut world, &made, key).await.unwrap();
        assert_eq!(world.id(&before).await, world.id(&password).await);
        let after = part(&mut world, &stored, key).await.unwrap();
        let after = world.state.handle(&after).unwrap();
        assert_eq!(after.labels(), world.state.handle(&password).unwrap().labels());
        let used = world.state.secret_use(&after);
        assert_eq!(
            format!("{} {:?}", used.roles[0], used.part),
            "pending Some(Pointer(\"/password\"))"
        );
    }
    // Text of a plugin stays text by every name, and what was not replaced is a part of the import.
    for key in ["user", "uid"] {
        assert_eq!(public(&mut world, &stored, key).await.unwrap(), "app b");
        assert_eq!(code(part(&mut world, &stored, key).await), "secret.part");
    }
    let host = part(&mut world, &stored, "host").await.unwrap();
    assert_eq!(value(&world, &host), "db.internal");
    assert_eq!(
        code(public(&mut world, &stored, "password").await),
        "secret.public-part"
    );
}

#[tokio::test]
async fn a_part_is_found_as_it_is_and_as_it_stands_in_the_string() {
    let mut world = world(StepName::Create);
    imported(&world);
    let whole = world.current().await;
    world.state.clear_text("p'imp;orted-1", "the answer").unwrap();
    let password = part(&mut world, &whole, "password").await.unwrap();
    assert_eq!(value(&world, &password), "p'imp;orted-1");
    assert!(world.state.clear_text("got p'imp;orted-1", "the answer").is_err());

    let mut world = self::world(StepName::Create);
    let libpq = r"host=db user=app password='p\'imp orted-1'";
    keep(&world, libpq, Labels::imported("text/plain", Alphabet::Text));
    let whole = world.current().await;
    world
        .state
        .clear_text(r"got p\'imp orted-1", "the answer")
        .unwrap();
    let _ = part(&mut world, &whole, "password").await.unwrap();
    assert!(
        world
            .state
            .clear_text(r"got p\'imp orted-1", "the answer")
            .is_err()
    );
}

/// Whatever an input reads as: it is told nothing of what it is.
#[tokio::test]
async fn text_that_is_not_the_rotated_secret_is_not_looked_at() {
    let mut said = Vec::new();
    for text in ["postgres://app:planted-7f3@db/shop", "planted=7f3", "planted-7f3"] {
        let mut world = world(StepName::Create);
        let wanted = Wanted::Input("admin".to_owned());
        let labels = Labels::imported("text/plain", Alphabet::Text);
        world.memory.keep(wanted, "ver-adm", text, labels);
        let run = world.run();
        let admin = world.state.input(run, "admin".to_owned()).await.unwrap();
        for refused in [
            part(&mut world, &admin, "password").await.map(drop),
            public(&mut world, &admin, "user").await.map(drop),
            with_text(&mut world, &admin, "user", "x").await.map(drop),
        ] {
            let Err(Error::Answer(refused)) = refused else {
                panic!("{text}: it was taken for a connection string");
            };
            said.push(refused.message);
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "it tells what it is: {said:?}");
}

#[tokio::test]
async fn a_string_that_no_person_wrote_has_no_parts() {
    // Of a plugin: by the label that says what it is, and as text.
    for (media_type, as_public) in [(MEDIA_TYPE, "secret.public-part"), ("text/plain", "secret.part")] {
        let mut world = world(StepName::Create);
        let (password, other) = (world.password().await, world.password().await);
        let composed = world
            .compose(
                media_type,
                "host=db user=app password=",
                &password,
                "hex",
                " dbname=shop",
            )
            .await
            .unwrap();
        for key in ["password", "host", "nothing"] {
            assert_eq!(
                code(part(&mut world, &composed, key).await),
                "secret.part",
                "{key}"
            );
            assert_eq!(code(public(&mut world, &composed, key).await), as_public, "{key}");
            let refused = with(&mut world, &composed, key, &other).await;
            assert_eq!(code(refused), "secret.part", "{key}");
            assert_eq!(
                code(with_text(&mut world, &composed, key, "x").await),
                "secret.part",
                "{key}"
            );
        }
    }
    // Of a generator and of a target: into which parts it falls would tell what is in it.
    for labels in [Labels::generated, Labels::captured] {
        let mut world = world(StepName::Create);
        let text = "host=db user=app password=planted-7f3";
        keep(&world, text, labels("text/plain", Alphabet::Text));
        let whole = world.current().await;
        assert_eq!(code(part(&mut world, &whole, "password").await), "secret.part");
        assert_eq!(
            code(with_text(&mut world, &whole, "user", "x").await),
            "secret.part"
        );
    }
    // A document is none, and a bare password with a key in it has no parts to ask for.
    for (media_type, text) in [
        ("application/json", r#"{"password":"planted-7f3"}"#),
        ("text/plain", "planted=7f3"),
    ] {
        let mut world = world(StepName::Create);
        keep(&world, text, Labels::imported(media_type, Alphabet::Text));
        let whole = world.current().await;
        for key in ["password", "planted"] {
            assert_eq!(code(part(&mut world, &whole, key).await), "secret.part", "{text}");
        }
    }
}

/// A template: what the plugin wrote itself tells it nothing by its parts, and what is put in is the secret that it was.
#[tokio::test]
async fn text_of_a_plugin_gets_a_password_and_is_text_everywhere_else_also_after_storage() {
    let mut world = world(StepName::Create);
    let text = world
        .text_alone_as(MEDIA_TYPE, "redis://u:password@cache:6379/0")
        .await;
    assert_eq!(public(&mut world, &text, "password").await.unwrap(), "password");
    assert_eq!(code(part(&mut world, &text, "password").await), "secret.part");
    // Text alone is no credential, with or without another user in it.
    let renamed = with_text(&mut world, &text, "user", "an app/1").await.unwrap();
    for known in [&text, &renamed] {
        let refused = world.set_pending(known).await.unwrap_err();
        assert_eq!(code::<()>(Err(refused)), "secret.not-a-credential");
    }
    let password = world.password().await;
    let made = with(&mut world, &renamed, "password", &password).await.unwrap();
    let whole = format!("redis://an%20app%2F1:{}@cache:6379/0", value(&world, &password));
    assert_eq!(value(&world, &made), whole);
    world.set_pending(&made).await.unwrap();
    let stored = world.pending().await;
    let own = part(&mut world, &stored, "password").await.unwrap();
    let labels = |secret: &Resource<Handle>| world.state.handle(secret).unwrap().labels().clone();
    assert_eq!(labels(&own), labels(&password));
    for (key, text) in [("user", "an app/1"), ("host", "cache"), ("port", "6379")] {
        assert_eq!(public(&mut world, &stored, key).await.unwrap(), text);
        assert_eq!(code(part(&mut world, &stored, key).await), "secret.part");
    }
    let refused = public(&mut world, &stored, "password").await;
    assert_eq!(code(refused), "secret.public-part");
}

/// What a form can hold is decided by what the secret may be made of, never by what it is made of (rule H10).
#[tokio::test]
async fn only_what_every_form_takes_as_it_is_is_put_in() {
    let mut world = world(StepName::Create);
    imported(&world);
    let whole = world.current().await;
    let known = world.conceal("a-plain-word").await;
    assert_eq!(
        code(with(&mut world, &whole, "password", &known).await),
        "secret.part"
    );
    let own = part(&mut world, &whole, "host").await.unwrap();
    assert_eq!(
        code(with(&mut world, &whole, "password", &own).await),
        "secret.part"
    );
    for key in ["", "*", "a\u{1}b"] {
        assert_eq!(
            code(part(&mut world, &whole, key).await),
            "secret.part",
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn a_user_name_is_public_where_the_rotation_says_so_by_any_of_its_names() {
    for (declared, is_public) in [("/username", true), ("/user", true), ("/host", false)] {
        let mut world = world_with(StepName::Create, |step| {
            step.public_parts = [declared.to_owned()].into();
        });
        imported(&world);
        let whole = world.current().await;
        let user = public(&mut world, &whole, "user").await;
        assert_eq!(user.is_ok_and(|user| user == "app"), is_public, "{declared}");
    }
}
