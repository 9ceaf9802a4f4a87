//! Other names of a vault: by grant only, and nothing is laundered through them (rule H9).

use keywheel_capability::bindings::keywheel::vault::certificates::HostOrder as _;
use keywheel_capability::bindings::keywheel::vault::vault::{Host as _, HostWrite as _};
use keywheel_capability::handle::{Alphabet, Labels};
use keywheel_capability::port::Wanted;
use keywheel_capability::vault::Write;
use keywheel_capability::{Error, Handle, HostState};
use keywheel_model::StepName;
use wasmtime::component::Resource;

use crate::world::{again, code, world};

async fn write(state: &mut HostState, name: &str, value: &Resource<Handle>) -> Result<String, Error> {
    let write: Resource<Write> = state.new(name.to_owned(), again(value)).await.unwrap();
    state.commit(write).await
}

#[tokio::test]
async fn a_name_that_is_not_granted_and_the_rotated_one_are_refused() {
    let mut world = world(StepName::Create);
    assert_eq!(
        code(world.state.get("ops/admin".to_owned(), None).await),
        "policy.denied"
    );
    assert_eq!(
        code(world.state.get("../app".to_owned(), None).await),
        "vault.name"
    );
    assert_eq!(
        code(world.state.get("app/db".to_owned(), None).await),
        "vault.rotated"
    );
    assert_eq!(
        code(world.state.get("other/x".to_owned(), None).await),
        "vault.not-found"
    );
    let password = world.password().await;
    assert_eq!(
        code(write(&mut world.state, "app/db", &password).await),
        "vault.rotated"
    );
    write(&mut world.state, "other/x", &password).await.unwrap();
}

#[tokio::test]
async fn one_secret_is_not_stored_under_anothers_name_and_taint_is_stored_with_it() {
    let mut world = world(StepName::Create);
    let labels = Labels::imported("text/plain", Alphabet::Text);
    world.memory.keep(
        Wanted::Vault {
            name: "other/a".parse().unwrap(),
            version: None,
        },
        "ver-a",
        "planted-a",
        labels,
    );
    let other = world.state.get("other/a".to_owned(), None).await.unwrap();
    assert_eq!(
        code(write(&mut world.state, "other/b", &other).await),
        "secret.sink"
    );
    assert_eq!(code(world.set_pending(&other).await), "secret.not-a-credential");
    let known = world.conceal("hunter2-hunter2").await;
    write(&mut world.state, "other/b", &known).await.unwrap();
    assert!(world.memory.get().writes["other/b"].known_to_guest);
}

#[tokio::test]
async fn certificates_say_that_they_are_not_offered() {
    let mut world = world(StepName::Create);
    assert_eq!(
        code(world.state.start("x".to_owned(), "{}".to_owned()).await),
        "host.not-offered"
    );
}
