//! `keywheel audit verify`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use keywheel_engine::{Exported, PublicKey};

use super::checkpoint;
use crate::cmd::{Context, host};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;

/// A checkpoint and a key are some lines: what is longer is none.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Verifies.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A file that `audit checkpoint` signed: the trail must still contain its row
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// The key that must have signed them: the one that `init` printed, or @FILE. Left out, it is this vault's. With it the vault may
    /// stay sealed; seals are not checked then
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// Sign the head as it is now, to be kept outside of this machine
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// # Errors
/// The trail does not hold together, or a checkpoint cannot be read or believed.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let trusted = arguments
        .public_key
        .as_deref()
        .map(|word| read_key(word, context));
    let trusted = trusted.transpose()?;
    let exported = arguments.checkpoints.iter().map(|file| read(&context.path(file)));
    let exported: Vec<Exported> = exported.collect::<Result<_, _>>()?;
    let unsigned = exported.iter().any(|one| one.signed_by.is_none());
    let engine = match trusted {
        Some(_) if arguments.save.is_none() => host::open(context).await?,
        _ => host::open_unsealed(context).await?,
    };
    if let Some(file) = &arguments.save {
        checkpoint::check_place(&context.path(file), &engine).await?;
    }
    let report = engine.audit_verify(exported, trusted).await?;
    if unsigned {
        context.output.warn(
            "a head has no signature: it is worth as much as the place in which it was kept; `keywheel audit checkpoint` signs one",
        );
    }
    if let Some(file) = &arguments.save {
        checkpoint::write(&context.path(file), &engine.audit_checkpoint(false).await?.file)?;
    }
    context.output.data(&report, |style| {
        let mut text = Text::default();
        let rows = counted(count(report.rows), "row");
        let heads = match report.checkpoints {
            0 => "no checkpoint was given to compare them with".to_owned(),
            given => format!("{} found in them", counted(given, "checkpoint")),
        };
        text.line(format_args!("{} {rows} hold together; {heads}", style.good("ok")));
        if let Some(cut) = report.cut {
            text.fact("cut", format_args!("to row {cut}, as the trail itself says"));
        }
        text.fact(
            "head",
            format_args!("row {} {}", report.head.seq, report.head.hash),
        );
        match report.sealed_to {
            Some(row) => text.fact("sealed", format_args!("to row {row}")),
            None => text.fact(
                "sealed",
                style.attention("no row was checked: the vault is sealed"),
            ),
        }
        text.finish()
    })?;
    if arguments.save.is_none() && arguments.checkpoints.is_empty() {
        context
            .output
            .next("keywheel audit checkpoint --out FILE, and keep that file elsewhere");
    }
    Ok(ExitCode::Ok)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn read_key(word: &str, context: &Context) -> Result<PublicKey, Failure> {
    let text = match word.strip_prefix('@') {
        Some(file) => read_text(&context.path(Path::new(file)))?,
        None => word.to_owned(),
    };
    text.parse().map_err(|error| {
        Failure::because(
            ExitCode::Usage,
            "audit.public-key",
            "`--public-key` is no public key",
            &error,
        )
        .hint("`keywheel audit checkpoint --public-key` prints this host's")
    })
}

fn read(file: &Path) -> Result<Exported, Failure> {
    Exported::read(&read_text(file)?).map_err(|error| {
        let code = error.code();
        let exit = if code == "audit.checkpoint" {
            ExitCode::Usage
        } else {
            ExitCode::VerifyFailed
        };
        let message = format!("\"{}\" is not taken", file.display());
        Failure::because(exit, code, message, &error).maybe_hint(error.hint())
    })
}

fn read_text(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => ExitCode::NotFound,
            std::io::ErrorKind::InvalidData => ExitCode::Usage,
            _ => ExitCode::Unexpected,
        };
        let message = format!("cannot read \"{}\"", file.display());
        Failure::because(exit, "audit.checkpoint", message, &error)
    })?;
    Ok(text)
}
