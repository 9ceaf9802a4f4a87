use std::process::Command;

/// Cargo, as a person would start it. What the cargo around a test put into the environment for that test's own package is taken out: some
/// build scripts are run again when it changes, and with them nearly everything is built again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}
