//! `keywheel secret read`. A value goes to a terminal, or into a new file that only its owner can read; never into a pipe,
//! where nobody knows who reads it.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_model::{SecretBytes, SecretName, VersionId};
use keywheel_server::{Ask, FileAction};
use serde::Serialize;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

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
    if arguments.to.is_none() && (context.output.is_json() || !context.output.terminal().facts().stdout) {
        let message = "a secret is printed only on a terminal";
        return Err(Failure::new(ExitCode::Usage, "secret.no-terminal", message)
            .hint("`--to FILE` writes it into a file that only its owner can read"));
    }
    let Some(path) = &arguments.to else {
        let value = value(arguments, context).await?;
        context.output.raw(value.expose())?;
        context.output.raw(b"\n")?;
        return Ok(ExitCode::Ok);
    };
    // Before the value is read: a file that cannot be written is no reason to have read it.
    let file = |action, bytes: &[u8]| {
        context
            .output
            .terminal()
            .ask(&Ask::File(action, path.clone()), bytes)
    };
    file(FileAction::Create, &[]).map_err(|error| unwritten(path, &error))?;
    let written = match value(arguments, context).await {
        Ok(value) => file(FileAction::Fill, value.expose()).map_err(|error| unwritten(path, &error)),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = written {
        // The failure that counts is the first one.
        let _ = file(FileAction::Remove, &[]);
        return Err(failure);
    }
    let written = Written {
        name: &arguments.name,
        file: path,
    };
    context.output.data(&written, |_| {
        format!("wrote {} into \"{}\"\n", arguments.name, path.display())
    })?;
    Ok(ExitCode::Ok)
}

async fn value(arguments: &Arguments, context: &Context) -> Result<SecretBytes, Failure> {
    let engine = host::open_vault(context).await?;
    Ok(engine
        .read(&arguments.name, arguments.version.as_ref(), &arguments.reason)
        .await?)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let (exit, hint) = match error.kind() {
        io::ErrorKind::AlreadyExists => (
            ExitCode::Conflict,
            "name a new file: what is there is never overwritten",
        ),
        io::ErrorKind::NotFound => (ExitCode::Unexpected, "the folder of the file must be there"),
        _ => (
            ExitCode::Unexpected,
            "name a file in a folder that this user may write to, on a disk with room",
        ),
    };
    Failure::because(
        exit,
        "secret.write",
        format!("cannot write \"{}\"", path.display()),
        error,
    )
    .hint(hint)
}
