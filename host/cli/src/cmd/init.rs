//! `keywheel init`.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
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
        let mut file = new_private_file(path)?;
        let written = file
            .write_all(recovery.expose())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_folder_of(path));
        if let Err(error) = written {
            // The error that is told is the first one; `init` will name the file if it is still there.
            let _ = std::fs::remove_file(path);
            return Err(unwritten(path, &error));
        }
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

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
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
    let (exit, way_out) = match error.kind() {
        io::ErrorKind::AlreadyExists => (ExitCode::Conflict, "name a file that is not there yet"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ExitCode::Unexpected, "name a file in a folder that you may write")
        }
        io::ErrorKind::NotFound => (ExitCode::Unexpected, "name a file in a folder that is there"),
        _ => (ExitCode::Unexpected, "name a file on a disk with room"),
    };
    Failure::because(
        exit,
        "init.recovery-file",
        format!("cannot write \"{}\"", path.display()),
        error,
    )
    .hint(format!("no host was made; {way_out}"))
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
