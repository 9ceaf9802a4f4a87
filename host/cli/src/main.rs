//! The binary `keywheel`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    keywheel_cli::run().into()
}
