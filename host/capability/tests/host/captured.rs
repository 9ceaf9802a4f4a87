//! What a target gives out: kept before the plugin hears of it, and never a way to wash a secret's labels off (write-ahead, rule H9).

use keywheel_capability::Error;
use keywheel_capability::bindings::keywheel::plugin::runs::HostRun as _;
use keywheel_model::StepName;

use crate::scene::{Scene, peer};
use crate::world::{VALUE, again, code};

const ISSUED: &str = "issued-by-the-target";

async fn scene(says: &'static str) -> Scene {
    Scene::open(StepName::Create, peer(says)).await
}

#[tokio::test]
async fn what_a_target_issues_is_in_the_escrow_before_the_plugin_has_it() {
    let mut scene = scene(ISSUED).await;
    let issued = scene.read_secret(ISSUED.len()).await.unwrap();
    let kept = std::mem::take(&mut scene.world.memory.get().escrow);
    assert_eq!(kept, [("net".to_owned(), ISSUED.as_bytes().to_vec())]);
    scene.world.set_pending(&issued).await.unwrap();
}

/// The target has made it already: what cannot be kept is not given to a plugin either.
#[tokio::test]
async fn where_the_escrow_cannot_be_written_the_plugin_gets_nothing() {
    let mut scene = scene(ISSUED).await;
    scene.world.memory.get().full = true;
    let refused: Result<_, Error> = scene.read_secret(ISSUED.len()).await;
    assert_eq!(code(refused), "store.full");
}

#[tokio::test]
async fn a_captured_value_that_is_a_live_secret_is_that_secret_with_its_labels() {
    let mut echo = scene(VALUE).await;
    let current = echo.world.current().await;
    let captured = echo.read_secret(VALUE.len()).await.unwrap();
    assert_eq!(echo.world.id(&captured).await, echo.world.id(&current).await);
    assert!(echo.world.memory.get().escrow.is_empty());

    // The administrator's is for use alone: captured again it is no credential either.
    let mut echo = scene("planted-admin").await;
    let run = echo.world.run();
    let admin = echo.world.state.input(run, "admin".to_owned()).await.unwrap();
    let captured = echo.read_secret("planted-admin".len()).await.unwrap();
    let own = code(echo.world.set_pending(&again(&admin)).await);
    assert_eq!(code(echo.world.set_pending(&captured).await), own);
    assert_eq!(own, "secret.not-a-credential");
}
