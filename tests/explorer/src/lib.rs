//! Explores the rotation machine: every history of a scene within its bound of faults, wrong protocols on purpose, and long random histories. It knows
//! the machine and fakes of vault, target, plugin and driver; it knows nothing real.

#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    clippy::wrong_self_convention,
    clippy::too_many_lines,
    clippy::similar_names,
    clippy::maybe_infinite_iter,
    clippy::format_push_string,
    reason = "a model for tests: every checked function answers with the violation that it found, and tables are long"
)]

mod canonical;
pub mod driver;
mod fingerprint;
pub mod invariant;
pub mod moves;
pub mod mutants;
pub mod plugin;
pub mod scene;
pub mod search;
pub mod simulation;
pub mod target;
pub mod vault;
pub mod world;

/// Shows a row of a table. Not by `print!`, which a test that passes keeps to itself: the table is what the test is for.
///
/// # Panics
///
/// Without a standard output.
pub fn print(text: &str) {
    use std::io::Write as _;

    #[expect(clippy::expect_used, reason = "a table that cannot be shown is no result")]
    std::io::stdout()
        .write_all(text.as_bytes())
        .expect("a standard output");
}
