//! What a guest writes and reads beside secrets: bounded, cleaned, masked.

use std::time::Duration;

use keywheel_capability::bindings::keywheel::core::runtime::{Host as _, Level};
use keywheel_capability::bindings::keywheel::core::types::Host as _;
use keywheel_capability::{Cancel, Error, MAX_HOST_CALLS, Stop};
use keywheel_model::{ErrorKind, StepError, StepName, Timestamp};

use crate::world::{VALUE, code, world, world_with};

#[tokio::test]
async fn a_live_secret_in_a_log_line_ends_the_step_and_none_of_it_is_kept() {
    let mut world = world(StepName::Test);
    world.current().await;
    let reversed: String = VALUE.chars().rev().collect();
    let error = world
        .state
        .log(Level::Info, format!("got {reversed}"), Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.downcast_ref::<Stop>(), Some(&Stop::Reflection));
    let report = world.state.into_report();
    assert!(report.reflection && report.log.is_empty());
    assert_eq!(report.reflected.unwrap().secrets, ["ver-cur"]);
}

#[tokio::test]
async fn a_live_secret_in_state_an_error_or_an_answer_ends_the_step() {
    let mut world = world(StepName::Test);
    world.current().await;
    assert!(matches!(
        world.state.set_state("k".to_owned(), VALUE.into()).await,
        Err(Error::Stop(Stop::Reflection))
    ));
    assert!(world.memory.get().state.is_empty());
    let error = StepError::new(ErrorKind::Other, "sql.error", format!("syntax error at {VALUE}"));
    assert!(world.state.convert_error(Error::Answer(error)).is_err());
    assert!(
        world
            .state
            .clear_cells([b"planted-7f3".as_slice(), b"-current"], "rows")
            .is_err(),
        "cut into cells"
    );
    assert_eq!(
        world.state.last_words(VALUE, "a panic"),
        "[withheld: it held a live secret]"
    );
}

#[tokio::test]
async fn a_secret_is_live_before_the_plugin_asked_for_it_if_the_engine_has_it_at_hand() {
    let memory = world(StepName::Test).memory;
    let wanted = keywheel_capability::port::Wanted::Role(keywheel_model::Role::Current);
    let loaded = keywheel_capability::RunPort::load(&*memory, &wanted)
        .await
        .unwrap()
        .unwrap();
    let mut world = world_with(StepName::Test, |step| step.watched = vec![loaded]);
    assert!(world.state.clear_text(VALUE, "rows").is_err());
}

#[tokio::test]
async fn log_lines_are_bounded_in_number_and_size_and_lose_control_characters() {
    let mut world = world(StepName::Test);
    for _ in 0..201 {
        let fields = vec![("field".to_owned(), "v".repeat(5000))];
        world
            .state
            .log(Level::Warn, format!("\u{1b}[2J{}", "x".repeat(5000)), fields)
            .await
            .unwrap();
    }
    let report = world.state.into_report();
    assert_eq!((report.log.len(), report.log_dropped), (200, 1));
    assert!(
        report.log[0].message.len() <= 4096
            && !report.log[0].message.contains('\u{1b}')
            && report.log[0].fields.is_empty()
    );
}

#[tokio::test]
async fn what_the_guest_concealed_is_not_shown_in_its_logs() {
    let mut world = world(StepName::Test);
    world.conceal("hunter2-hunter2").await;
    world
        .state
        .log(Level::Info, "the word is hunter2-hunter2".to_owned(), Vec::new())
        .await
        .unwrap();
    assert_eq!(world.state.into_report().log[0].message, "the word is ***");
}

#[tokio::test]
async fn a_step_waits_in_place_for_seconds_only() {
    let mut world = world(StepName::Test);
    world.state.sleep(1).await.unwrap();
    assert_eq!(code(world.state.sleep(60_000).await), "runtime.sleep");
}

#[tokio::test]
async fn a_cancelled_run_ends_every_wait() {
    let (cancel, watch) = Cancel::new();
    let mut world = world_with(StepName::Test, |step| step.cancel = watch);
    assert!(!world.state.cancelled().await.unwrap());
    cancel.send(true).unwrap();
    assert!(world.state.cancelled().await.unwrap());
    assert_eq!(code(world.state.sleep(4000).await), "run.cancelled");
}

#[tokio::test]
async fn host_calls_are_counted_and_end_with_the_deadline() {
    let mut world = world(StepName::Test);
    for _ in 0..MAX_HOST_CALLS {
        world.state.on_host_call().unwrap();
    }
    assert_eq!(
        world.state.on_host_call().unwrap_err().downcast_ref::<Stop>(),
        Some(&Stop::HostCalls)
    );
    let mut late = world_with(StepName::Test, |step| step.deadline = Timestamp::from_unix_ms(1));
    assert_eq!(
        late.state.on_host_call().unwrap_err().downcast_ref::<Stop>(),
        Some(&Stop::Deadline)
    );
    assert_eq!(
        code(
            late.state
                .within(async {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    Ok(())
                })
                .await
        ),
        "run.deadline"
    );
}

#[tokio::test]
async fn state_is_written_before_the_call_returns_and_bounded() {
    let mut world = world(StepName::Test);
    world
        .state
        .set_state("k".to_owned(), b"v".to_vec())
        .await
        .unwrap();
    assert_eq!(world.memory.get().state["k"], b"v");
    assert_eq!(
        world.state.get_state("k".to_owned()).await.unwrap().unwrap(),
        b"v"
    );
    assert_eq!(
        code(world.state.set_state("k".to_owned(), vec![0; 65_537]).await),
        "state.size"
    );
    assert_eq!(
        code(
            world
                .state
                .set_state("../k".to_owned() + &"x".repeat(64), Vec::new())
                .await
        ),
        "run.name"
    );
    world.state.delete_state("k".to_owned()).await.unwrap();
    assert!(world.memory.get().state.is_empty());
}
