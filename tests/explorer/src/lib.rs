//! Explores the rotation machine: every history of a scene within its bound of faults, wrong protocols on purpose, and long random histories. It knows
//! the machine and fakes of vault, target, plugin and driver; it knows nothing real.

#![forbid(unsafe_code)]

pub mod driver;
mod fingerprint;
pub mod invariant;
pub mod moves;
pub mod mutants;
pub mod plugin;
pub mod scene;
pub mod search;
pub mod target;
pub mod vault;
pub mod world;
