//! `keywheel vault restore`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use keywheel_config::{Config, Vault};
use keywheel_engine::{Restore, RestoredView, SystemClock, Unlock};

use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Output, Text};
use crate::secret_input::Source;
use crate::time;

/// Restores.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What `vault backup` made
    file: PathBuf,
    #[command(flatten)]
    by: OpenedBy,
    /// Where there is a state: put the backup in its place, and keep that one beside it
    #[arg(long)]
    force: bool,
    /// Let this key file open the vault from now on; made, for its owner only, where it is missing
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What opens it; left out: the key file of the configuration, or somebody is asked.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct OpenedBy {
    /// The recovery identity that `init` printed: @FILE, or - for standard input or a prompt
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    recovery: Option<String>,
    /// A passphrase of the vault: @FILE, or - for standard input or a prompt
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    passphrase: Option<String>,
    /// A key file of the vault
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// # Errors
/// There is a state; the key does not open the backup; it is damaged.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let config = ours::config(context)?;
    let has_new_key = arguments.new_key_file.is_some();
    let restore = Restore {
        file: arguments.file,
        key: unlock(&arguments.by, &config, &context.output)?,
        force: arguments.force,
        new_key_file: arguments.new_key_file,
        reason: arguments.reason,
    };
    let restored = restore.run(&config, Arc::new(SystemClock)).await?;
    context.output.data(&restored, |_| text(&restored))?;
    tell_what_is_next(&restored, &config, has_new_key, &context.output);
    Ok(ExitCode::Ok)
}

fn unlock(by: &OpenedBy, config: &Config, output: &Output) -> Result<Unlock, Failure> {
    if let Some(word) = &by.recovery {
        return Ok(Unlock::Recovery(
            Source::parse(Some(word))?.read("recovery identity", output)?,
        ));
    }
    if let Some(word) = &by.passphrase {
        return Ok(Unlock::Passphrase(
            Source::parse(Some(word))?.read("passphrase of the vault", output)?,
        ));
    }
    let named = by.key_file.as_ref().or(key_file(config));
    match named {
        Some(file) if by.key_file.is_some() || file.exists() => Ok(Unlock::KeyFile(file.clone())),
        _ if output.is_interactive() => {
            let key = Source::Input.read("recovery identity, or passphrase of the vault", output)?;
            Ok(if key.expose().starts_with(b"AGE-SECRET-KEY-1") {
                Unlock::Recovery(key)
            } else {
                Unlock::Passphrase(key)
            })
        }
        _ => {
            let message = "a key is needed to open the backup, and nobody may be asked";
            Err(Failure::new(ExitCode::Auth, "vault.sealed", message)
                .hint("`--recovery @FILE`, `--passphrase @FILE` or `--key-file FILE`"))
        }
    }
}

fn key_file(config: &Config) -> Option<&PathBuf> {
    match &config.vault {
        Vault::Embedded { key_file } => key_file.as_ref(),
    }
}

fn text(restored: &RestoredView) -> String {
    let mut text = Text::default();
    text.fact("state", format_args!("\"{}\"", restored.state.display()));
    text.fact("taken", time::show(restored.taken_at));
    text.fact("restore epoch", restored.epoch.0);
    let slots: Vec<_> = restored.slots.iter().map(|slot| slot.slot.as_str()).collect();
    text.fact("opens with", slots.join(", "));
    if let Some(before) = &restored.before {
        text.fact("before", format_args!("\"{}\"", before.display()));
    }
    text.finish()
}

/// The keys of the backup's time are back, also those that were taken out since because somebody else may have them.
fn tell_which_keys_are_back(restored: &RestoredView, output: &Output) {
    if let Some(at) = restored.rekeyed_at {
        output.warn(&format!(
            "the backup is older than the last rekey ({}): the vault has the root key again that was put out of use then",
            time::show(at)
        ));
    }
    for slot in &restored.slots_back {
        output.warn(&format!(
            "slot {slot} was taken out after the backup was made, and its key opens the vault again: `keywheel vault slot remove {slot}`"
        ));
    }
    if restored.rekeyed_at.is_some() || !restored.slots_back.is_empty() {
        output.next("keywheel vault rekey, once the slots that are not to open it are removed");
    } else if restored.before.is_none() {
        output.say(
            "there was no state to compare it with: if the vault was rekeyed, or a slot removed, after the backup was made, do that again",
        );
    }
}

fn tell_what_is_next(restored: &RestoredView, config: &Config, has_new_key: bool, output: &Output) {
    tell_which_keys_are_back(restored, output);
    output.say("the next run of each secret only verifies it, and deletes nothing on its target");
    if let Some(before) = &restored.before {
        output.say(&format!(
            "the state of before is kept: remove \"{}\" when everything is verified",
            before.display()
        ));
    }
    if let Some(file) = key_file(config).filter(|file| !has_new_key && !file.exists()) {
        output.next(&format!(
            "keywheel vault slot add --key-file \"{}\", or put the key file back",
            file.display()
        ));
    }
    output.next("keywheel audit verify --checkpoint FILE, with the newest checkpoint that you have");
    if config.samples().next().is_some() {
        output.next("keywheel drift check");
    }
}
