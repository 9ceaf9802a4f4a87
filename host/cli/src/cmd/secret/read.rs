//! `keywheel secret read`. For a person a value goes to a terminal, or into a new file that only its owner can read. Into a pipe it goes by a grant
//! alone: nobody sees there who reads it.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_engine::{Read, ReadValue, Wanted};
use keywheel_model::{SecretBytes, SecretName, Stage, VersionId};
use keywheel_server::{Ask, FileAction};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;

/// Reads a value.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The secret's name in the vault
    name: SecretName,
    /// `current`, `pending`, `previous`, or the id of a version
    #[arg(long, value_name = "VERSION", default_value = "current")]
    version: Wanted,
    /// A part of it alone: a member of a JSON document, by its name or JSON pointer, or a key of a connection string
    #[arg(long, value_name = "NAME", value_parser = bounded)]
    part: Option<String>,
    /// Why, for the audit trail; a person has to say it
    #[arg(long, value_name = "TEXT", value_parser = bounded)]
    reason: Option<String>,
    /// Write it into this new file, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// End it with a line break where it goes to a program
    #[arg(long)]
    newline: bool,
}

/// What is typed here stands in the audit trail.
fn bounded(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = 1000;
    if text.len() > BYTES_MAX {
        return Err(format!("more than {BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// `-o json` of `secret read --to`.
#[derive(Debug, Serialize)]
struct Written<'a> {
    name: &'a SecretName,
    file: &'a Path,
}

/// `-o json` of `secret read` by a program.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Given<'a> {
    name: &'a SecretName,
    version: &'a VersionId,
    stage: Stage,
    value: &'a str,
}

/// # Errors
/// There is no such version; a program that no grant gives it to; nobody said why; the file exists.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let output = &context.output;
    let is_shown = output.terminal().facts().stdout && !output.is_json();
    // What the other side says of its terminal is its word alone.
    let by_grant = context.is_of_stranger() || arguments.to.is_none() && !is_shown;
    if !by_grant && arguments.reason.is_none() {
        let message = "a person who reads a value says why";
        return Err(Failure::new(ExitCode::Usage, "usage.invalid", message).hint("`--reason TEXT`"));
    }
    if arguments.to.is_none() && by_grant {
        return to_program(arguments, context).await;
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

/// The value and nothing else, byte by byte; or with its version in JSON, so that both are of one moment.
async fn to_program(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let given = granted(arguments, context).await?;
    let bytes = given.value.expose();
    if !context.output.is_json() {
        context.output.raw(bytes)?;
        if arguments.newline {
            context.output.raw(b"\n")?;
        }
        return Ok(ExitCode::Ok);
    }
    let value = std::str::from_utf8(bytes).map_err(|_| {
        let message = "the value is no UTF-8, and JSON has nothing else";
        Failure::new(ExitCode::Usage, "secret.not-text", message)
            .hint("leave `-o json` out: it is printed as it is")
    })?;
    // No copy is left behind by growing: JSON writes a byte as six at the most.
    let mut json = Zeroizing::new(Vec::with_capacity(6 * bytes.len() + 1024));
    let given = Given {
        name: &arguments.name,
        version: &given.version,
        stage: given.stage,
        value,
    };
    serde_json::to_writer(&mut *json, &given)
        .map_err(|error| Failure::from_error(ExitCode::Unexpected, "output.json", &error))?;
    json.push(b'\n');
    context.output.raw(&json)?;
    Ok(ExitCode::Ok)
}

async fn granted(arguments: &Arguments, context: &Context) -> Result<ReadValue, Failure> {
    let engine = host::open_vault(context).await?;
    let read = Read {
        uid: context.uid(),
        secret: &arguments.name,
        wanted: &arguments.version,
        part: arguments.part.as_deref(),
        reason: arguments.reason.as_deref(),
    };
    Ok(engine.read_by_grant(read).await?)
}

/// For a person's eyes or file.
async fn value(arguments: &Arguments, context: &Context) -> Result<SecretBytes, Failure> {
    if context.is_of_stranger() {
        return Ok(granted(arguments, context).await?.value);
    }
    let engine = host::open_vault(context).await?;
    let reason = arguments.reason.as_deref().unwrap_or_default();
    let part = arguments.part.as_deref();
    Ok(engine
        .read(&arguments.name, &arguments.version, part, reason)
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
