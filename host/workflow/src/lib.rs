//! The rotation state machine: pure step(state, event, now) -> (state, effects). No I/O, no clock, no randomness.

#![forbid(unsafe_code)]
