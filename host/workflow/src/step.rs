use keywheel_model::Timestamp;

use crate::{Effect, Event, Note, State};

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The new state. Durable before `effect` starts where the effect needs it; its notes in the same transaction.
    pub state: State,
    /// What to do now. None: go on waiting for what is in flight (`state.doing`), or the run is over and released.
    pub effect: Option<Effect>,
    /// Facts for audit and notification.
    pub notes: Vec<Note>,
}

/// The machine.
pub fn step(state: &State, _event: &Event, _now: Timestamp) -> Next {
    Next {
        state: state.clone(),
        effect: None,
        notes: Vec::new(),
    }
}
