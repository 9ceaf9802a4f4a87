//! Parts of documents, and rule H3's way round them.

use keywheel_capability::bindings::keywheel::core::secrets::HostSecret as _;
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_model::{Role, StepName};

use crate::world::{World, again, code, world, world_with};

const IMPORTED: &str = r#"{ "username":"app",  "password" : "p-imported-1", "host": "db" }"#;

fn imported(world: &World) {
    world.memory.keep(
        Wanted::Role(Role::Current),
        "ver-doc",
        IMPORTED,
        Labels::imported("application/json", Alphabet::Text),
    );
}

fn json() -> String {
    "json".to_owned()
}

#[tokio::test]
async fn a_piece_that_was_inserted_whole_comes_back_as_the_secret_that_it_was() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let document = world.document(&password).await;
    let part = world
        .state
        .part(again(&document), json(), "/password".to_owned())
        .await
        .unwrap();
    assert_eq!(world.id(&part).await, world.id(&password).await);

    world.set_pending(&document).await.unwrap();
    let stored = world.pending().await;
    let part = world
        .state
        .part(stored, json(), "/password".to_owned())
        .await
        .unwrap();
    let (part, password) = (
        world.state.handle(&part).unwrap(),
        world.state.handle(&password).unwrap(),
    );
    assert!(part.value().same_as(password.value()));
    assert_eq!(part.labels(), password.labels(), "the label survives storage");
    let used = world.state.secret_use(&part);
    assert_eq!(
        format!("{} {:?}", used.roles[0], used.part),
        "pending Some(Pointer(\"/password\"))"
    );
}

#[tokio::test]
async fn text_of_a_plugin_is_public_and_nothing_else_is() {
    let mut world = world(StepName::Create);
    let password = world.password().await;
    let document = world.document(&password).await;
    assert_eq!(
        world
            .state
            .public_part(again(&document), json(), "/username".to_owned())
            .await
            .unwrap(),
        "app"
    );
    assert_eq!(
        code(
            world
                .state
                .public_part(again(&document), json(), "/password".to_owned())
                .await
        ),
        "secret.public-part"
    );
    assert_eq!(
        code(
            world
                .state
                .part(again(&document), json(), "/username".to_owned())
                .await
        ),
        "secret.part"
    );
}

#[tokio::test]
async fn a_secret_that_was_put_in_a_public_place_does_not_come_out_as_text() {
    let mut world = world_with(StepName::Create, |step| {
        step.public_parts = ["/host".to_owned()].into();
    });
    imported(&world);
    let document = world.current().await;
    assert_eq!(
        world
            .state
            .public_part(again(&document), json(), "/host".to_owned())
            .await
            .unwrap(),
        "db"
    );
    let password = world
        .state
        .part(again(&document), json(), "/password".to_owned())
        .await
        .unwrap();
    let moved = world
        .state
        .with_part(document, json(), "/host".to_owned(), password)
        .await
        .unwrap();
    assert_eq!(
        code(
            world
                .state
                .public_part(again(&moved), json(), "/host".to_owned())
                .await
        ),
        "secret.public-part"
    );
    // Nor what was put in whole and then written beside text.
    let password = world.password().await;
    let mixed = world
        .compose("application/json", r#"{"host": "db-"#, &password, "json", r#""}"#)
        .await
        .unwrap();
    assert_eq!(
        code(
            world
                .state
                .public_part(again(&mixed), json(), "/host".to_owned())
                .await
        ),
        "secret.public-part"
    );
    assert_eq!(
        code(world.state.part(mixed, json(), "/host".to_owned()).await),
        "secret.part"
    );
}

#[tokio::test]
async fn a_part_of_an_imported_document_is_public_only_where_the_rotation_says_so() {
    let mut world = world(StepName::Create);
    imported(&world);
    let document = world.current().await;
    for key in ["/username", "/password"] {
        assert_eq!(
            code(
                world
                    .state
                    .public_part(again(&document), json(), key.to_owned())
                    .await
            ),
            "secret.public-part"
        );
    }
    assert_eq!(
        code(world.state.part(document, json(), "/nothing".to_owned()).await),
        "secret.part"
    );
}

#[tokio::test]
async fn replacing_a_part_keeps_the_rest_byte_for_byte() {
    let mut world = world(StepName::Create);
    imported(&world);
    let document = world.current().await;
    let password = world.password().await;
    let changed = world
        .state
        .with_part(document, json(), "/password".to_owned(), again(&password))
        .await
        .unwrap();
    let changed = world
        .state
        .with_part_text(changed, json(), "/username".to_owned(), "app\"b".to_owned())
        .await
        .unwrap();
    let value = String::from_utf8(world.state.handle(&changed).unwrap().value().expose().to_vec()).unwrap();
    let password =
        String::from_utf8(world.state.handle(&password).unwrap().value().expose().to_vec()).unwrap();
    assert_eq!(
        value,
        IMPORTED
            .replace("p-imported-1", &password)
            .replace("\"app\"", r#""app\"b""#)
    );
    assert_eq!(
        world
            .state
            .public_part(again(&changed), json(), "/username".to_owned())
            .await
            .unwrap(),
        "app\"b"
    );
    // What was not replaced is still a part of the import, and the whole may become the pending version.
    let host = world
        .state
        .part(again(&changed), json(), "/host".to_owned())
        .await
        .unwrap();
    assert_eq!(world.state.handle(&host).unwrap().value().expose(), b"db");
    world.set_pending(&changed).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_is_no_document_by_its_label_has_no_parts_whatever_its_bytes() {
    for value in ["plain", r#"{"a": "b"}"#, "1234567"] {
        let mut world = world(StepName::Create);
        world.memory.keep(
            Wanted::Role(Role::Current),
            "ver-txt",
            value,
            Labels::imported("text/plain", Alphabet::Text),
        );
        let secret = world.current().await;
        assert_eq!(
            code(world.state.part(secret, json(), "/a".to_owned()).await),
            "secret.part",
            "{value}"
        );
    }
}

#[tokio::test]
async fn another_format_is_refused() {
    let mut world = world(StepName::Create);
    let current = world.current().await;
    assert_eq!(
        code(world.state.part(current, "toml".to_owned(), "a".to_owned()).await),
        "secret.part"
    );
}
