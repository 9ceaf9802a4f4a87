//! `keywheel init`.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keywheel_engine::{Setup, SystemClock};
use keywheel_model::SecretBytes;
use serde::Serialize;

use crate::cmd::Context;
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Text, raw};
use crate::secret_input::Source;

/// Makes a host.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Its folder; made where it is missing
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// A passphrase that opens the vault beside the key file: @FILE, or - for standard input or a prompt
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    passphrase: Option<String>,
    /// Make no key file: the vault starts sealed and asks for its passphrase
    #[arg(long, requires = "passphrase")]
    no_key_file: bool,
    /// Write the recovery identity into this new file instead of printing it
    #[arg(long, value_name = "FILE")]
    recovery_to: Option<PathBuf>,
}

/// `-o json` of `init`.
#[derive(Debug, Serialize)]
struct Made<'a> {
    config: &'a Path,
    key_file: Option<&'a Path>,
    /// The file with the recovery identity.
    recovery_file: Option<&'a Path>,
}

/// # Errors
/// Something is there already, or cannot be written; nobody would see the recovery identity.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.recovery_to.is_none() && (context.output.is_json() || !io::stdout().is_terminal()) {
        let message = "the recovery identity is printed once, and nobody would see it here";
        return Err(Failure::new(ExitCode::Usage, "init.no-terminal", message)
            .hint("`--recovery-to FILE` writes it into a file that only its owner can read; keep that file off this machine"));
    }
    let passphrase = match &arguments.passphrase {
        None => None,
        Some(word) => Some(Source::parse(Some(word))?.read("new passphrase of the vault", context.output)?),
    };
    let recovery_file = arguments.recovery_to.as_deref();
    let mut kept = recovery_file.map(new_private_file).transpose()?;
    let setup = Setup {
        folder: arguments.folder.clone(),
        passphrase,
        key_file: !arguments.no_key_file,
        clock: Arc::new(SystemClock),
    };
    let done = match setup.run().await {
        Ok(done) => done,
        Err(error) => {
            // Nothing was written into it.
            recovery_file.map(std::fs::remove_file);
            return Err(error.into());
        }
    };
    if let (Some(kept), Some(path)) = (&mut kept, recovery_file) {
        let written = kept
            .write_all(done.recovery.expose())
            .and_then(|()| kept.write_all(b"\n"));
        written
            .and_then(|()| kept.sync_all())
            .map_err(|error| unwritten(path, &error))?;
    }
    let made = Made {
        config: &done.config,
        key_file: done.key_file.as_deref(),
        recovery_file,
    };
    context.output.data(&made, |_| text(&made))?;
    if recovery_file.is_none() {
        show_recovery(&done.recovery)?;
    }
    context
        .output
        .next("put plugins into the folder \"plugins\", then keywheel plugin list");
    Ok(ExitCode::Ok)
}

fn new_private_file(path: &Path) -> Result<std::fs::File, Failure> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::AlreadyExists {
        ExitCode::Conflict
    } else {
        ExitCode::Unexpected
    };
    Failure::because(
        exit,
        "init.recovery-file",
        format!("cannot write \"{}\"", path.display()),
        error,
    )
}

fn text(made: &Made<'_>) -> String {
    let mut text = Text::default();
    text.fact("configuration", format_args!("\"{}\"", made.config.display()));
    match made.key_file {
        Some(path) => text.fact("key file", format_args!("\"{}\"", path.display())),
        None => text.fact("key file", "none: the vault starts sealed"),
    }
    if let Some(path) = made.recovery_file {
        text.fact(
            "recovery",
            format_args!("\"{}\": keep it off this machine", path.display()),
        );
    }
    text.finish()
}

fn show_recovery(recovery: &SecretBytes) -> Result<(), Failure> {
    raw(b"\nThe recovery identity opens the vault when every other key is lost. It is shown this once; keep it off this machine:\n\n  ")?;
    raw(recovery.expose())?;
    raw(b"\n\n")
}
