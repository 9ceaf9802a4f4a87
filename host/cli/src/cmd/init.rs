//! `keywheel init`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keywheel_engine::{Begun, PublicKey, RecoveryIdentity, Setup, SystemClock};
use keywheel_model::SecretBytes;
use serde::Serialize;

use crate::cmd::{Context, ours};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Output, Text};
use crate::recovery_file;
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
    /// What checks the signatures of `audit checkpoint`.
    public_key: Option<PublicKey>,
}

/// # Errors
/// Something is there already, or cannot be written; others can write there; nobody would see the recovery identity.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.recovery_to.is_none()
        && (context.output.is_json() || !context.output.terminal().facts().stdout)
    {
        let message = "the recovery identity is printed once, and nobody would see it here";
        return Err(Failure::new(ExitCode::Usage, "init.no-terminal", message)
            .hint("`--recovery-to FILE` writes it into a file that only its owner can read; keep that file off this machine"));
    }
    ours::folder(&arguments.folder)?;
    let passphrase = match &arguments.passphrase {
        None => None,
        Some(word) => Some(Source::parse(Some(word))?.read("new passphrase of the vault", &context.output)?),
    };
    let recovery = RecoveryIdentity::generate().map_err(keywheel_engine::Error::from)?;
    let text_of_it = recovery.to_text().map_err(keywheel_engine::Error::from)?;
    let setup = Setup {
        folder: arguments.folder.clone(),
        passphrase,
        key_file: !arguments.no_key_file,
        recovery,
        clock: Arc::new(SystemClock),
    };
    let begun = setup.begin().await?;
    let handed_over = match HandedOver::give(&text_of_it, arguments, &begun, &context.output) {
        Ok(handed_over) => handed_over,
        Err(failure) => {
            begun.give_up();
            return Err(failure);
        }
    };
    let done = match begun.finish().await {
        Ok(done) => done,
        Err(error) => return Err(handed_over.take_back(error.into())),
    };
    let made = Made {
        config: &done.config,
        key_file: done.key_file.as_deref(),
        recovery_file: arguments.recovery_to.as_deref(),
        public_key: done.public_key,
    };
    context.output.data(&made, |_| text(&made))?;
    context
        .output
        .next("put plugins into the folder \"plugins\", then keywheel plugin list");
    Ok(ExitCode::Ok)
}

/// Where the recovery identity went before the vault was made: a vault whose identity was lost on the way cannot be recovered.
enum HandedOver<'a> {
    File(&'a Path),
    Terminal,
}

impl<'a> HandedOver<'a> {
    fn give(
        recovery: &SecretBytes,
        arguments: &'a Arguments,
        begun: &Begun,
        output: &Output,
    ) -> Result<Self, Failure> {
        let Some(path) = arguments.recovery_to.as_deref() else {
            show_recovery(recovery, output)?;
            return Ok(Self::Terminal);
        };
        begun.note_recovery(path, recovery)?;
        recovery_file::write(path, recovery)?;
        Ok(Self::File(path))
    }

    /// There is no vault that it opens.
    fn take_back(self, failure: Failure) -> Failure {
        match self {
            Self::File(path) => {
                let _ = std::fs::remove_file(path);
                failure.hint("no host was made and nothing of it is left: mend that, and run `init` again")
            }
            Self::Terminal => failure.hint(
                "no host was made and nothing of it is left: the recovery identity above opens nothing",
            ),
        }
    }
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
    if let Some(key) = made.public_key {
        text.fact(
            "public key",
            format_args!("{key}: checks this host's audit checkpoints; keep it off this machine"),
        );
    }
    text.finish()
}

fn show_recovery(recovery: &SecretBytes, output: &Output) -> Result<(), Failure> {
    let shown = output
        .raw(b"The recovery identity opens the vault when every other key is lost. It is shown this once; keep it off this machine:\n\n  ")
        .and_then(|()| output.raw(recovery.expose()))
        .and_then(|()| output.raw(b"\n\n"));
    // A reader that is gone has not seen it: here that is no quiet end.
    shown
        .map_err(|failure| match failure {
            Failure::Silent(_) => Failure::new(
                ExitCode::Unexpected,
                "output.write",
                "cannot write to standard output: nobody saw the recovery identity",
            ),
            failure => failure,
        })
        .map_err(|failure| {
            failure.hint("no host was made; `--recovery-to FILE` writes the identity into a file")
        })
}
