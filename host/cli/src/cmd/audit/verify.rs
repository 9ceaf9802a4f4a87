//! `keywheel audit verify`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cmd::{Context, host};
use crate::errors::{Failure, counted};
use crate::exit_code::ExitCode;
use crate::output::Text;

/// Verifies.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A head that was saved before: the trail must still contain it
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Save the head as it is now, to be kept outside of this machine
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// # Errors
/// The trail does not hold together, or a checkpoint cannot be read.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let checkpoints = arguments
        .checkpoints
        .iter()
        .map(|file| read(file))
        .collect::<Result<_, _>>()?;
    let report = host::open_unsealed(context)
        .await?
        .audit_verify(checkpoints)
        .await?;
    if let Some(file) = &arguments.save {
        save(file, &serde_json::to_string(&report.head).unwrap_or_default())?;
    }
    context.output.data(&report, |style| {
        let mut text = Text::default();
        let (rows, heads) = (
            counted(count(report.rows), "row"),
            counted(report.checkpoints, "checkpoint"),
        );
        text.line(format_args!(
            "{} {rows} hold together, {heads} found in them",
            style.good("ok")
        ));
        text.fact(
            "head",
            format_args!("row {} {}", report.head.seq, report.head.hash),
        );
        match report.sealed_to {
            Some(row) => text.fact("sealed", format_args!("to row {row}")),
            None => text.fact("sealed", style.attention("no row")),
        }
        text.finish()
    })?;
    if arguments.save.is_none() {
        context
            .output
            .next("keywheel audit verify --save FILE, and keep that file elsewhere");
    }
    Ok(ExitCode::Ok)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            ExitCode::NotFound
        } else {
            ExitCode::Unexpected
        };
        Failure::because(
            exit,
            "audit.checkpoint",
            format!("cannot read \"{shown}\""),
            &error,
        )
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::because(
            ExitCode::Usage,
            "audit.checkpoint",
            format!("\"{shown}\" is no checkpoint"),
            &error,
        )
        .hint("`keywheel audit verify --save FILE` writes one")
    })
}

fn save(file: &Path, text: &str) -> Result<(), Failure> {
    fs::write(file, format!("{text}\n")).map_err(|error| {
        Failure::because(
            ExitCode::Unexpected,
            "audit.save",
            format!("cannot write \"{}\"", file.display()),
            &error,
        )
    })
}
