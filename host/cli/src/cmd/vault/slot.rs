//! `keywheel vault slot`: the ways in which the vault can be opened.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keywheel_engine::view::SlotView;
use keywheel_engine::{Engine, NewSlot, RecoveryIdentity};
use keywheel_model::SecretBytes;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table};
use crate::recovery_file;
use crate::secret_input::Source;
use crate::time;

/// Slots.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the slots
    List,
    /// Add a slot: one more key file, passphrase or recovery identity that opens the vault
    Add(Add),
    /// Remove a slot; never the last one that opens the vault
    Remove(Remove),
}

/// Adds.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    key: NewKey,
}

/// What opens the new slot.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NewKey {
    /// A key file; made, for its owner only, where it is missing
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A passphrase: @FILE, or - for standard input or a prompt
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    passphrase: Option<String>,
    /// A new recovery identity, written into this new file: keep that off this machine
    #[arg(long, value_name = "FILE")]
    recovery_to: Option<PathBuf>,
}

/// Removes.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The slot's name, as `vault slot list` prints it
    slot: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// # Errors
/// The vault cannot be opened; the slot is the last one; the key file is not private.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List => print(&host::open_vault_to_look(context).await?, context).await,
        Verb::Add(arguments) => add(arguments, context).await,
        Verb::Remove(arguments) => remove(&arguments, context).await,
    }
}

async fn print(engine: &Engine, context: &Context) -> Result<ExitCode, Failure> {
    let slots = engine.slots().await?;
    context.output.data(&slots, |style| text(&slots, style))?;
    let broken = slots.iter().any(|slot| slot.fault.is_some());
    Ok(if broken { ExitCode::Attention } else { ExitCode::Ok })
}

async fn add(arguments: Add, context: &Context) -> Result<ExitCode, Failure> {
    let passphrase = arguments.key.passphrase.as_deref();
    let source = passphrase.map(|word| Source::parse(Some(word))).transpose()?;
    let engine = host::open_vault(context).await?;
    let slot = match (arguments.key.key_file, arguments.key.recovery_to) {
        (Some(path), _) => engine.add_slot(NewSlot::KeyFile(context.path(&path))).await?,
        (None, Some(path)) => add_recovery(&engine, &context.path(&path)).await?,
        (None, None) => {
            let passphrase = new_passphrase(source.unwrap_or(Source::Input), context)?;
            engine.add_slot(NewSlot::Passphrase(passphrase)).await?
        }
    };
    context.output.say(&format!("slot {slot} is added"));
    print(&engine, context).await
}

/// The identity is in its file before there is anything that it opens.
async fn add_recovery(engine: &Engine, path: &Path) -> Result<String, Failure> {
    let identity = RecoveryIdentity::generate().map_err(keywheel_engine::Error::from)?;
    let text = identity.to_text().map_err(keywheel_engine::Error::from)?;
    recovery_file::write(path, &text)?;
    let added = engine.add_slot(NewSlot::Recovery(identity.recipient())).await;
    added.map_err(|error| {
        // It opens nothing; whether it can be taken away changes nothing of why.
        let _ = std::fs::remove_file(path);
        error.into()
    })
}

/// Typed by hand it is asked for twice: nobody sees what they type.
fn new_passphrase(source: Source, context: &Context) -> Result<SecretBytes, Failure> {
    let first = source.read("new passphrase of the vault", &context.output)?;
    if source.is_prompt(&context.output)
        && !source
            .read("the same once more", &context.output)?
            .same_as(&first)
    {
        return Err(Failure::new(
            ExitCode::Usage,
            "secret.not-the-same",
            "the two are not the same: nothing was done",
        ));
    }
    Ok(first)
}

async fn remove(arguments: &Remove, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault(context).await?;
    // Nobody is asked about a slot that is not there.
    let slots = engine.slots().await?;
    let is_there = slots.iter().any(|slot| slot.slot == arguments.slot);
    if !arguments.yes && is_there {
        context.output.confirm(&format!(
            "remove slot {}? its key will not open this vault any more",
            arguments.slot.escape_debug()
        ))?;
    }
    engine.remove_slot(&arguments.slot).await?;
    if let Some(path) = engine.key_file_opens_nothing().await? {
        let path = path.display();
        context.output.warn(&format!(
            "the key file of the configuration, \"{path}\", opens this vault no more, and every command would end at it: name another one in `key_file` of `[vault]`; or move it \
             away, and `keywheel vault slot add --key-file \"{path}\"` makes a new one (it asks for a key that is left)"
        ));
    }
    context.output.warn(
        "a copy of the state that was made before, a backup too, still opens with the removed slot's key, and what it opens leads to this vault's root: `keywheel vault rekey` makes a new one",
    );
    print(&engine, context).await
}

fn text(slots: &[SlotView], style: Style) -> String {
    let mut table = Table::new(["SLOT", "KIND", "MADE", "FAULT"]);
    for slot in slots {
        table.row([
            slot.slot.clone(),
            slot.kind.clone(),
            time::show(slot.created_at),
            slot.fault.clone().unwrap_or_default(),
        ]);
    }
    table.to_text(style)
}
