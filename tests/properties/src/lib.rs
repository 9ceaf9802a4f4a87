//! What every parser and every store of the host promises for any input: how many cases are tried, and where the input comes from. Knows no
//! crate of the product; `tests/*.rs` hold the properties, one file for each kind of what is read; `tests/memory` how much is held meanwhile.
//!
//! A run of the tests tries the same cases everywhere: their number and the seed are fixed. `cargo xtask properties --cases N` tries more, from
//! a fresh seed that it prints; `--seed S` repeats it. What once failed is kept in `tests/*.regressions` and tried first.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "a test may stop")]

mod mutate;
mod shaped;

pub use mutate::{edited, edited_bytes, flipped};
pub use shaped::{any_text, json_text, toml_text};

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};

/// How many cases of a property that costs little a run of the tests tries.
pub const CASES: u32 = 256;

/// The variable with the number of cases, instead of [`CASES`]; properties that cost more take their share of it.
pub const CASES_VARIABLE: &str = "KEYWHEEL_PROPERTY_CASES";

/// The variable with the seed.
pub const SEED_VARIABLE: &str = "KEYWHEEL_PROPERTY_SEED";

/// The seed of a run of the tests.
const SEED: u64 = 5;

/// What a property may spend: `cases` in a run of the tests, and in proportion where more is asked for.
///
/// # Panics
/// A variable holds no number.
pub fn budget(cases: u32) -> Config {
    let asked = number(CASES_VARIABLE).unwrap_or_else(|| CASES.into());
    let cases = asked.saturating_mul(cases.into()) / u64::from(CASES);
    Config {
        cases: u32::try_from(cases).unwrap_or(u32::MAX).max(1),
        rng_seed: RngSeed::Fixed(number(SEED_VARIABLE).unwrap_or(SEED)),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_iters: 4_000,
        ..Config::default()
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number of cases, or a seed"))
}

/// The encodings of the contract, by their names.
pub const ENCODINGS: [&str; 14] = [
    "raw",
    "json",
    "percent",
    "form",
    "xml",
    "base64",
    "base64url",
    "hex",
    "utf-16le",
    "connection-string",
    "libpq",
    "jdbc",
    "userinfo",
    "shell",
];
