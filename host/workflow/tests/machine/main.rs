//! The machine by itself, where a case says more than the explorer's search.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod one_try;
mod put_back;
mod set_back;

use keywheel_model::{Epoch, Proof, SlotClass, Strategy, Trigger};
use keywheel_workflow::{BackOff, First, Principal, ProofPolicy, Settings};

fn settings() -> Settings {
    Settings {
        rotation: "fake".parse().unwrap(),
        secret: "fake".parse().unwrap(),
        plugin: "fake".parse().unwrap(),
        plugin_digest: String::new(),
        principal: Principal {
            target: String::new(),
            account: String::new(),
        },
        trigger: Trigger::Manual,
        class: SlotClass::A,
        strategy: Strategy::OneSlot,
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
