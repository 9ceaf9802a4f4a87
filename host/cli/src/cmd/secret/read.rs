//! `keywheel secret read`. A value goes to a terminal, or into a new file that only its owner can read; never into a pipe,
//! where nobody knows who reads it.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_model::{SecretBytes, SecretName, VersionId};
use serde::Serialize;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::raw;

/// Reads a value.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
    /// A version other than the current one
    #[arg(long, value_name = "VERSION")]
    version: Option<VersionId>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Write it into this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// `-o json` of `secret read --to`.
#[derive(Debug, Serialize)]
struct Written<'a> {
    name: &'a SecretName,
    file: &'a Path,
}

/// # Errors
/// There is no such version; standard output is no terminal and no file was named; the file exists.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.to.is_none() && (context.output.is_json() || !io::stdout().is_terminal()) {
        let message = "a secret is printed only on a terminal";
        return Err(Failure::new(ExitCode::Usage, "secret.no-terminal", message)
            .hint("`--to FILE` writes it into a file that only its owner can read"));
    }
    let engine = host::open_unsealed(context).await?;
    let value = engine
        .read(&arguments.name, arguments.version.as_ref(), &arguments.reason)
        .await?;
    let Some(file) = &arguments.to else {
        raw(value.expose())?;
        raw(b"\n")?;
        return Ok(ExitCode::Ok);
    };
    write(file, &value).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::AlreadyExists {
            ExitCode::Conflict
        } else {
            ExitCode::Unexpected
        };
        Failure::because(
            exit,
            "secret.write",
            format!("cannot write \"{}\"", file.display()),
            &error,
        )
    })?;
    let written = Written {
        name: &arguments.name,
        file,
    };
    context.output.data(&written, |_| {
        format!("wrote {} into \"{}\"\n", arguments.name, file.display())
    })?;
    Ok(ExitCode::Ok)
}

fn write(file: &Path, value: &SecretBytes) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(value.expose())
}
