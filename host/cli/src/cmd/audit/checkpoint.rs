//! `keywheel audit checkpoint`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_engine::{Engine, Exported};
use serde::Serialize;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// A file with more is none.
const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024;

/// Signs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write it into this file, in place of an older checkpoint; left out, it is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the key that checks the signatures, as PEM, and sign nothing
    #[arg(long, conflicts_with = "out")]
    public_key: bool,
}

/// `-o json` of `--public-key`.
#[derive(Debug, Serialize)]
struct Shown {
    public_key: String,
}

/// # Errors
/// The vault cannot be opened; the file cannot be written.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_vault(context).await?;
    if arguments.public_key {
        let key = engine.audit_public_key()?;
        let shown = Shown {
            public_key: key.to_string(),
        };
        context.output.data(&shown, |_| key.to_pem())?;
        return Ok(ExitCode::Ok);
    }
    if let Some(file) = &arguments.out {
        check_place(&context.path(file), &engine).await?;
    }
    let signed = engine.audit_checkpoint(true).await?;
    let Some(file) = &arguments.out else {
        context.output.data(&signed, |_| signed.file.clone())?;
        return Ok(ExitCode::Ok);
    };
    write(&context.path(file), &signed.file)?;
    context.output.data(&signed, |_| String::new())?;
    context.output.say(&format!(
        "signed up to row {}; keep \"{}\" off this machine",
        signed.head.seq,
        file.display()
    ));
    context.output.next("keywheel audit verify --checkpoint FILE");
    Ok(ExitCode::Ok)
}

/// Only a checkpoint gives way to a checkpoint: another file at that place was not meant, and may be the only one of its kind.
///
/// And only one of this trail: one that is not is the proof that this is another state, or an older copy of this one.
///
/// # Errors
/// Something else is there; the store.
pub(crate) async fn check_place(path: &Path, engine: &Engine) -> Result<(), Failure> {
    let Ok(found) = fs::metadata(path) else {
        return Ok(());
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(CHECKPOINT_BYTES_MAX).read_to_string(&mut text));
    if found.is_file() && read.is_ok() && text.is_empty() {
        return Ok(());
    }
    let taken = |what: &str| {
        let message = format!("\"{}\" is there, and is {what}", path.display());
        Failure::new(ExitCode::Conflict, "audit.taken", message)
    };
    match Exported::read(&text) {
        Ok(exported) if found.is_file() => {
            if engine.is_of_this_trail(&exported.checkpoint).await? {
                return Ok(());
            }
            Err(taken("a checkpoint of what this trail does not have").hint(
                "nothing was written; `keywheel audit verify --checkpoint` says what that proves. Keep that file, and name another one",
            ))
        }
        _ => Err(taken("no checkpoint")
            .hint("nothing was written; name another file: only a checkpoint is replaced by a newer one")),
    }
}

/// Writes beside it first: what was there before is lost to no full disk.
///
/// # Errors
/// The folder is not there, cannot be written, or is full.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = File::create_new(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // The error that is told is the first one.
        let _ = fs::remove_file(&beside);
        Failure::because(
            ExitCode::Unexpected,
            "audit.save",
            format!("cannot write \"{}\"", path.display()),
            &error,
        )
        .hint("name a file in a folder that is there, and that the host may write to")
    })
}
