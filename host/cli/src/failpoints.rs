//! The binary `keywheel` with failpoints, for `cargo xtask crash`. Never shipped.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a harness reads it")]

fn main() -> std::process::ExitCode {
    if let Err(wrong) = keywheel_failpoint::arm() {
        eprintln!("error: {wrong}");
        return std::process::ExitCode::FAILURE;
    }
    keywheel_cli::run().into()
}
