//! The host side of the contract as a guest meets it: through the generated traits, over a port in memory.

#[path = "host/composition.rs"]
mod composition;
#[path = "host/guard.rs"]
mod guard;
#[path = "host/memory.rs"]
mod memory;
#[path = "host/refuse.rs"]
mod refuse;
#[path = "host/runs.rs"]
mod runs;
#[path = "host/runtime.rs"]
mod runtime;
#[path = "host/secrets.rs"]
mod secrets;
#[path = "host/vault.rs"]
mod vault;
#[path = "host/world.rs"]
mod world;
