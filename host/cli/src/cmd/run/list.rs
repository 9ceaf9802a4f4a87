//! `keywheel run list`.

use clap::Args;
use keywheel_engine::view::RunView;
use keywheel_model::RotationName;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, word_of};
use crate::time;

/// Lists runs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Of one rotation only
    rotation: Option<RotationName>,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open(context).await?;
    let mut runs = if arguments.open {
        engine.open_runs().await?
    } else {
        engine.runs(arguments.rotation.as_ref(), arguments.limit).await?
    };
    if let Some(rotation) = &arguments.rotation {
        runs.retain(|run| run.rotation == *rotation);
    }
    context.output.data(&runs, |style| table(&runs, style))?;
    Ok(ExitCode::Ok)
}

fn table(runs: &[RunView], style: Style) -> String {
    if runs.is_empty() {
        return "no runs; `keywheel rotate NAME` starts one\n".to_owned();
    }
    let mut table = Table::new(["RUN", "ROTATION", "STATE", "SAFETY", "STARTED", "STEP", "WHY"]);
    for run in runs {
        let step = run
            .steps
            .last()
            .map(|step| step.step.to_string())
            .unwrap_or_default();
        table.row([
            run.run.to_string(),
            run.rotation.to_string(),
            word_of(&run.state),
            run.safety.to_string(),
            time::show(run.started_at),
            step,
            why(run),
        ]);
    }
    table.to_text(style)
}

/// Why it does not go on: in a word, so that the table stays narrow.
fn why(run: &RunView) -> String {
    let due = "due: `run resume`";
    match (&run.parked, &run.trouble) {
        (None, Some(trouble)) if run.due => format!("{due} ({})", trouble.code),
        (None, None) if run.due => due.to_owned(),
        (Some(parked), _) => word_of(&parked.cause),
        (None, Some(trouble)) => trouble.code.clone(),
        (None, None) => match run.waits_for {
            Some(what) => what.to_owned(),
            None if run.undriven_words().is_some() => "no host drives it: `run resume`".to_owned(),
            None => String::new(),
        },
    }
}
