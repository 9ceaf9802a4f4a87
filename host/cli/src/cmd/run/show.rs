//! `keywheel run show`, and the picture of a run that other commands print too.

use clap::Args;
use keywheel_engine::RunWord;
use keywheel_engine::view::RunView;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text, word_of};
use crate::time;

/// Shows a run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The run's id, or a rotation for its newest run
    run: String,
}

/// # Errors
/// There is no such run.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open(context).await?;
    let id = super::find(&engine, &arguments.run).await?;
    let view = engine.run(&id).await?;
    context.output.data(&view, |style| text(&view, style))?;
    Ok(if view.state == RunWord::Parked {
        ExitCode::Attention
    } else {
        ExitCode::Ok
    })
}

/// Where a run stands, for people.
pub(crate) fn text(run: &RunView, style: Style) -> String {
    let mut text = Text::default();
    let word = word_of(&run.state);
    let word = match run.state {
        RunWord::Succeeded => style.good(&word),
        RunWord::Parked | RunWord::Failed | RunWord::RolledBack => style.attention(&word),
        _ => word,
    };
    text.line(format_args!(
        "{} of {} ({}): {word}, {}",
        run.run, run.rotation, run.secret, run.safety
    ));
    text.fact(
        "started",
        format_args!("{} by {}", time::show(run.started_at), word_of(&run.trigger)),
    );
    if let Some(finished) = run.finished_at {
        text.fact("finished", time::show(finished));
    }
    if let Some(until) = run.waits_until {
        let what = run.waits_for.unwrap_or("its time");
        text.fact("waits until", format_args!("{}, for {what}", time::show(until)));
    }
    let way = if run.past_no_return {
        "forward only: the new credential was promoted"
    } else {
        "can be rolled back"
    };
    if run.finished_at.is_none() {
        text.fact("way", way);
    }
    if run.unproved {
        text.fact("unproved", "no login has proved the new credential yet");
    }
    if !run.detail.is_empty() {
        text.fact("detail", &run.detail);
    }
    text.line("");
    text.lines(&steps(run, style));
    if run.state == RunWord::Failed {
        text.line("");
        text.line(format_args!(
            "{} the old credential is valid; mend what the detail says and rotate again",
            style.hint("hint:")
        ));
    }
    if let Some(parked) = &run.parked {
        text.line("");
        text.line(format_args!(
            "{} {}: {}",
            style.attention("parked:"),
            word_of(&parked.cause),
            parked.detail
        ));
        text.line(format_args!("{} {}", style.hint("hint:"), parked.way_out));
    }
    text.finish()
}

fn steps(run: &RunView, style: Style) -> String {
    let mut table = Table::new(["STEP", "STATE", "SAFETY", "BEGAN", "TOOK", "TRIES", "CODE"]);
    let failed = (run.state == RunWord::Failed).then_some(run.steps.len());
    for (number, step) in (1..).zip(&run.steps) {
        let state = match step.ended_at {
            _ if failed == Some(number) => "failed",
            Some(_) => "done",
            None => "open",
        };
        let took = step
            .ended_at
            .map(|ended| keywheel_config::show_duration(ended.saturating_since(step.began_at)));
        table.row([
            step.step.to_string(),
            state.to_owned(),
            step.safety.to_string(),
            time::show(step.began_at),
            took.unwrap_or_else(|| "-".to_owned()),
            step.tries.to_string(),
            step.code.clone().unwrap_or_default(),
        ]);
    }
    table.to_text(style)
}
