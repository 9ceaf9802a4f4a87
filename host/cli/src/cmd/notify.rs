//! `keywheel notify`: who is told what needs a person, and whether that works.

use clap::{Args, Subcommand};
use keywheel_engine::view::{SinkView, TriedSink};

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text};
use crate::time;

/// Notices.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the sinks of the configuration, how many notices wait for each, and why one takes none
    List,
    /// Hand a test notice to sinks, and say whether each has taken it
    Test(Test),
}

/// Tries.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The sinks; left out: all of the configuration
    #[arg(value_name = "SINK")]
    names: Vec<String>,
}

/// # Errors
/// The configuration is not valid; the state cannot be opened; there is no such sink.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List => list(context).await,
        Verb::Test(arguments) => test(arguments, context).await,
    }
}

async fn list(context: &Context) -> Result<ExitCode, Failure> {
    let sinks = host::open_to_look(context).await?.sinks().await?;
    context.output.data(&sinks, |style| table(&sinks, style))?;
    let is_well = sinks.iter().all(|sink| sink.failing.is_none());
    Ok(if is_well {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

async fn test(arguments: Test, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_to_look(context).await?;
    let known: Vec<String> = engine
        .config()
        .notify
        .iter()
        .map(|sink| sink.name.clone())
        .collect();
    if known.is_empty() {
        let message = "nobody is told anything: the configuration has no sink";
        return Err(Failure::new(ExitCode::NotFound, "notify.not-found", message)
            .hint("`[[notify]]` in keywheel.toml adds one: docs/operators.md, The service"));
    }
    let names = if arguments.names.is_empty() {
        known.clone()
    } else {
        arguments.names
    };
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        let message = format!("there is no sink \"{}\"", unknown.escape_debug());
        return Err(Failure::new(ExitCode::NotFound, "notify.not-found", message)
            .hint(format!("the configuration has {}", known.join(", "))));
    }
    let mut tried = Vec::new();
    for name in &names {
        tried.extend(engine.try_sink(name).await?);
    }
    context.output.data(&tried, |style| text(&tried, style))?;
    let is_well = tried.iter().all(|sink| sink.failed.is_none());
    Ok(if is_well {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

fn table(sinks: &[SinkView], style: Style) -> String {
    let mut table = Table::new([
        "SINK",
        "KIND",
        "ABOUT",
        "WAITING",
        "TAKEN LAST",
        "TAKES NOTHING SINCE",
    ]);
    for sink in sinks {
        let failing = sink.failing.as_ref();
        let failing = failing.map(|failing| format!("{}: {}", time::show(failing.since), failing.why));
        table.row([
            sink.name.clone(),
            sink.kind.to_owned(),
            sink.about.join(", "),
            sink.waiting.to_string(),
            time::show_or_dash(sink.taken_at()),
            failing.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.to_text(style)
}

fn text(tried: &[TriedSink], style: Style) -> String {
    let mut text = Text::default();
    for sink in tried {
        match &sink.failed {
            None => text.line(format_args!("{} {} has taken it", style.good("ok"), sink.name)),
            Some(why) => text.line(format_args!("{} {}: {why}", style.bad("failed"), sink.name)),
        }
    }
    text.finish()
}
