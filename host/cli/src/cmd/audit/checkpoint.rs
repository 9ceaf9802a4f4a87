//! `keywheel audit checkpoint`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Signs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write it into this file, in place of what is there; left out, it is printed
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

/// Writes beside it first: what was there before is lost to no full disk.
///
/// # Errors
/// The folder is not there, cannot be written, or is full.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside)
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
    })
}
