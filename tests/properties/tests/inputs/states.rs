//! A run's states as they stand in the journal, and what may happen to them.

use keywheel_model::{Epoch, Proof, RunId, SlotClass, Strategy as Keeping, Timestamp, Trigger};
use keywheel_workflow::{
    BackOff, Choice, Event, First, Lease, Principal, ProofPolicy, Report, Settings, State, step,
};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

fn settings() -> Settings {
    Settings {
        rotation: "db".parse().expect("name"),
        secret: "app/db".parse().expect("name"),
        plugin: "postgres".parse().expect("name"),
        plugin_digest: "sha256:00".to_owned(),
        principal: Principal {
            target: "db:5432".to_owned(),
            account: "app".to_owned(),
        },
        trigger: Trigger::Manual,
        class: SlotClass::A,
        strategy: Keeping::TwoSlot,
        evidence: Proof::Login,
        proof: ProofPolicy::Login,
        gap_accepted: true,
        first: First::Adopt,
        consumers: Vec::new(),
        grace_ms: 0,
        belief_delay_ms: 0,
        effect_deadline_ms: 10,
        horizon_ms: 100,
        deferred_proof_ms: 0,
        server_grace_ms: None,
        remote_vault: false,
        max_attempts: 3,
        back_off: BackOff {
            first_ms: 1,
            cap_ms: 1,
        },
        epoch: Epoch(0),
        seed: 0,
    }
}

pub(crate) fn answers(op: u64) -> Vec<Event> {
    let held = Lease::Held {
        fence: keywheel_model::Fence(1),
        settled_at: NOW,
    };
    let done = |report| Event::Done { op, report };
    vec![
        Event::Start,
        Event::Timer,
        Event::Recovered,
        Event::FenceLost,
        Event::Cancel,
        Event::RollBack,
        Event::GiveUp,
        Event::Resume(Choice::Retry),
        Event::Resume(Choice::ApplyCurrent),
        done(Report::Lease(held)),
        done(Report::Head(keywheel_workflow::Head::default())),
        done(Report::Sessions { ended: true }),
        done(Report::Stored(Ok(()))),
        done(Report::Step(Ok(keywheel_workflow::StepOk::done()))),
        done(Report::Step(Err(keywheel_model::StepError::new(
            keywheel_model::ErrorKind::Other,
            "a.b",
            "c",
        )))),
        done(Report::Verdict(Ok(keywheel_model::Verdict::Accepted))),
        done(Report::Verdict(Ok(keywheel_model::Verdict::Unknown(
            "why".to_owned(),
        )))),
    ]
}

/// States on the way of a run, as they stand in the journal.
pub(crate) fn states() -> Vec<String> {
    let mut state = State::new(RunId::from_number(1), settings());
    let mut texts = vec![serde_json::to_string(&state).expect("JSON")];
    for event in [0, 9, 10, 13, 13, 15, 12, 13] {
        state = step(&state, &answers(state.op)[event], NOW).state;
        texts.push(serde_json::to_string(&state).expect("JSON"));
    }
    texts
}
