//! `keywheel run show`, and the picture of a run that other commands print too.

use std::time::Duration;

use clap::Args;
use keywheel_engine::view::{ApprovalView, RunView, StepWord};
use keywheel_engine::{Left, RunWord};
use keywheel_model::{StepName, Trigger};

use crate::cmd::run::steer;
use crate::cmd::secret::list::consumed;
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

/// Where a run stands, step by step, for people.
pub(crate) fn text(run: &RunView, style: Style) -> String {
    let mut text = Text::default();
    headline(run, style, &mut text);
    text.fact(
        "started",
        format_args!("{} by {}", time::show(run.started_at), word_of(&run.trigger)),
    );
    if let Some(finished) = run.finished_at {
        text.fact("finished", time::show(finished));
    }
    facts(run, &mut text);
    for consumer in &run.consumers {
        text.fact("consumer", consumed(consumer));
    }
    if run.finished_at.is_none() {
        text.fact("way", way(run));
    }
    if let Some(words) = run.undriven_words() {
        text.fact("driven", words);
    }
    if let Some(words) = run.configuration_words() {
        text.fact("configuration", words);
    }
    if run.removed {
        let words = format!(
            "its rotation is not there any more, and the run keeps what it was started with: {}",
            run.removed_way_out()
        );
        text.fact("configuration", words);
    }
    text.line("");
    text.lines(&steps(run, style));
    if let Some(approval) = &run.approval {
        text.line("");
        text.lines(&approved(approval));
    }
    ending(run, style, &mut text);
    text.finish()
}

/// The same without its steps: they were told while they were made.
pub(crate) fn summary(run: &RunView, style: Style) -> String {
    let mut text = Text::default();
    headline(run, style, &mut text);
    facts(run, &mut text);
    ending(run, style, &mut text);
    text.finish()
}

/// How the runs of a command ended, and then what to do next about each.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn all(went: &[(RunView, Left)], context: &Context) -> Result<(), Failure> {
    let views: Vec<&RunView> = went.iter().map(|(view, _)| view).collect();
    context.output.data(&views, |style| {
        let texts: Vec<String> = views.iter().map(|view| summary(view, style)).collect();
        texts.join("\n")
    })?;
    for (view, left) in went {
        steer::say_next(view, *left, context);
    }
    Ok(())
}

fn headline(run: &RunView, style: Style, text: &mut Text) {
    let word = word_of(&run.state);
    let word = match run.state {
        RunWord::Succeeded => style.good(&word),
        RunWord::Parked | RunWord::Failed | RunWord::RolledBack | RunWord::GivenUp => style.attention(&word),
        _ => word,
    };
    text.line(format_args!(
        "{} of {} ({}): {word}, {}",
        run.run, run.rotation, run.secret, run.safety
    ));
}

fn facts(run: &RunView, text: &mut Text) {
    if let Some(until) = run.waits_until {
        let what = run.waits_for.unwrap_or("its time");
        let until = time::show(until);
        if run.due {
            text.fact("due", format_args!("since {until}: its wait for {what} is over"));
        } else {
            text.fact("waits until", format_args!("{until}, for {what}"));
        }
    }
    if let Some(trouble) = run.trouble.as_ref().filter(|_| run.parked.is_none()) {
        text.fact(
            "last failure",
            format_args!("{}: {}", trouble.code, trouble.message),
        );
    }
    if let (Some(asked), Some(_)) = (run.asked, &run.parked) {
        text.fact("asked for", format_args!("{asked}; noted, and not done yet"));
    }
    if run.unproved {
        text.fact("unproved", "no login has proved the new credential yet");
    }
    if !run.detail.is_empty() {
        text.fact("detail", &run.detail);
    }
}

fn way(run: &RunView) -> &'static str {
    match (run.past_no_return, run.trigger) {
        (true, _) => "forward only: the new credential was promoted",
        (false, Trigger::Adopt) => "nothing is changed on the target; `run cancel` gives the import up",
        (false, _) => "can be rolled back",
    }
}

fn ending(run: &RunView, style: Style, text: &mut Text) {
    if run.state == RunWord::Failed {
        let words = match (run.trigger, &run.way_past) {
            (Trigger::Adopt, _) => "the target is untouched; import the credential that is in use".to_owned(),
            (_, Some(way_past)) => format!("{}; {way_past}; then rotate again", left_behind(run)),
            (_, None) => format!("{}; mend what the detail says and rotate again", left_behind(run)),
        };
        text.line("");
        text.line(format_args!("{} {words}", style.hint("hint:")));
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
}

/// What is approved, or was, and by whom.
fn approved(approval: &ApprovalView) -> String {
    let mut text = Text::default();
    text.fact("plan", &approval.digest);
    let steps = approval.plan["steps"].as_array().into_iter().flatten();
    for step in steps {
        let word = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
        text.line(format_args!("  {}: {}", word("step"), word("what")));
    }
    let warnings = approval.plan["warnings"].as_array().into_iter().flatten();
    for warning in warnings.filter_map(serde_json::Value::as_str) {
        text.line(format_args!("  {warning}"));
    }
    if let Some(by) = &approval.requested_by {
        text.fact("asked for by", by);
    }
    match (&approval.approved_by, approval.until) {
        (Some(by), _) => text.fact("approved by", by),
        (None, Some(until)) => text.fact("approval", format_args!("waited for until {}", time::show(until))),
        (None, None) => text.fact("approval", "waited for"),
    }
    text.finish()
}

/// What a failed run has left on its target. That the old credential is valid is not said where nobody has looked.
fn left_behind(run: &RunView) -> String {
    let mut steps = run.steps.iter();
    let went_back = run.steps.iter().any(|step| step.step == StepName::Rollback);
    let was_put_on = steps.any(|step| step.step == StepName::Apply && step.state == StepWord::Done);
    if run.untouched {
        "nothing was changed on the target".to_owned()
    } else if was_put_on && !went_back {
        format!("current was put on the target again ({})", run.safety)
    } else {
        format!("what was changed on the target was taken back ({})", run.safety)
    }
}

fn steps(run: &RunView, style: Style) -> String {
    let mut table = Table::new(["STEP", "STATE", "SAFETY", "BEGAN", "TOOK", "TRIES", "CODE"]);
    for step in &run.steps {
        let took = step
            .took_ms
            .map(|took| keywheel_config::show_duration(Duration::from_millis(took)));
        table.row([
            step.step.to_string(),
            word_of(&step.state),
            step.safety.to_string(),
            time::show(step.began_at),
            took.unwrap_or_else(|| "-".to_owned()),
            step.tries.to_string(),
            step.code.clone().unwrap_or_default(),
        ]);
    }
    table.to_text(style)
}
