//! `keywheel plugin`: look at plugins, add them, pack one's manifest into its component.

pub(crate) mod add;
pub(crate) mod folder;
pub(crate) mod list;
pub(crate) mod pack;
pub(crate) mod settings;
pub(crate) mod show;

use std::path::Path;

use clap::Subcommand;
use keywheel_model::PluginName;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the plugin folder: what is pinned, new, held, missing or refused
    List,
    /// Print what a plugin asks for: capabilities, inputs, modes, settings, and every place a secret may enter
    Show(show::Arguments),
    /// Show what a plugin asks for, pin its bytes and write its grant
    Add(add::Arguments),
    /// Check that every pinned plugin has the bytes that were pinned
    Verify(list::Verify),
    /// Write a manifest into a component, as its one section `keywheel:manifest`
    Pack(pack::Arguments),
}

impl Verb {
    /// Whether the state is looked at or changed.
    pub(crate) fn needs_state(&self) -> bool {
        !matches!(self, Self::Show(_) | Self::Pack(_))
    }
}

/// # Errors
/// Whatever stops it.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List => list::run(context).await,
        Verb::Add(arguments) => add::run(&arguments, context).await,
        Verb::Verify(arguments) => list::verify(&arguments, context).await,
        Verb::Show(arguments) => show::run(&arguments, context),
        Verb::Pack(arguments) => pack::run(&arguments, context),
    }
}

/// A failure of reading or writing a manifest.
pub(crate) fn manifest_failure(message: String, error: &keywheel_manifest::Error) -> Failure {
    Failure::because(ExitCode::ConfigInvalid, error.code(), message, error).maybe_hint(error.hint())
}

/// The failure for a plugin that is not in the folder; names what is there.
pub(crate) fn no_such_plugin(name: &str, found: &folder::Found, dir: &Path) -> Failure {
    let names: Vec<&str> = found.files.keys().map(PluginName::as_str).collect();
    let dir = dir.display();
    let hint = match keywheel_config::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("put its `.wasm` file into \"{dir}\", which has no plugin yet"),
        None => format!(
            "put its `.wasm` file into \"{dir}\", which has only {}",
            names.join(", ")
        ),
    };
    Failure::new(
        ExitCode::NotFound,
        "plugin.not-found",
        format!("no file in the plugin folder is the plugin `{name}`"),
    )
    .hint(hint)
}
