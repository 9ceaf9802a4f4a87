//! What a hostile plugin tries, one named test an attack, on the built `keywheel` and real servers. `tests/hostile/README.md` has the
//! table: which attack, which test, what stops it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by panicking"
)]

mod beside;
mod bombs;
mod checks;
mod components;
mod lies;
mod oracles;
mod outlets;
mod reflection;
mod serving;
mod sizes;
mod smuggling;
mod wasm;
