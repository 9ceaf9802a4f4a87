//! `keywheel plan`: what a rotation would do, and what would stop it, before anything is written.

use std::time::Duration;

use clap::Args;
use keywheel_engine::view::{PlanView, RunView};
use keywheel_model::Strategy;
use serde_json::Value;

use crate::cmd::rotate::{Which, worse};
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text, word_of};
use crate::time;

/// Plans.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

impl Arguments {
    pub(crate) fn of(which: &Which) -> Self {
        Self { which: which.clone() }
    }
}

/// # Errors
/// The configuration is not valid, the state cannot be opened, or a plugin's `plan` itself fails.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_checked(context).await?;
    let (mut plans, mut worst) = (Vec::new(), ExitCode::Ok);
    let names = arguments.which.of(engine.config())?;
    for name in &names {
        match engine.plan(name).await.map_err(Failure::from) {
            Ok(plan) => plans.push(plan),
            Err(failure) if names.len() > 1 => {
                context.output.fail(&failure);
                worst = worse(worst, failure.exit());
            }
            Err(failure) => return Err(failure),
        }
    }
    context.output.data(&plans, |style| {
        let texts: Vec<String> = plans.iter().map(|plan| text(plan, style)).collect();
        texts.join("\n")
    })?;
    if plans.iter().any(|plan| !plan.problems.is_empty()) {
        return Ok(worse(worst, ExitCode::Conflict));
    }
    for plan in &plans {
        context.output.next(&match &plan.open_run {
            Some(run) if run.parked.is_some() => format!("keywheel run show {}", run.run),
            Some(run) => format!("keywheel run resume {}", run.run),
            None => format!("keywheel rotate {}", plan.rotation),
        });
    }
    let found = if plans.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    };
    Ok(worse(worst, found))
}

/// A plan, for people.
pub(crate) fn text(plan: &PlanView, style: Style) -> String {
    let mut text = Text::default();
    text.line(format_args!(
        "{} ({}) by {}",
        plan.rotation, plan.secret, plan.plugin
    ));
    text.fact("digest", &plan.digest);
    if !plan.forms.is_empty() {
        let forms: Vec<String> = plan.forms.iter().map(ToString::to_string).collect();
        text.fact("forms", forms.join(", "));
    }
    let targets = plan.target.iter();
    let targets: Vec<String> = targets
        .map(|target| label(&target.plugin, &target.values))
        .collect();
    text.fact("target", targets.join(", "));
    let accounts: Vec<String> = plan.account.iter().map(|account| label("", account)).collect();
    text.fact("account", accounts.join(", "));
    text.fact("strategy", strategy(plan));
    text.fact("hosts", plan.hosts.join(", "));
    text.fact("capabilities", plan.capabilities.join(", "));
    if let Some(gap) = &plan.gap {
        text.fact("gap", style.attention(gap));
    }
    let after = keywheel_config::show_duration(Duration::from_millis(plan.revoke_after_ms));
    text.fact("old credential", fate(plan, &after));
    let due = plan
        .next_due
        .map_or_else(|| "by hand alone".to_owned(), time::show);
    text.fact("due by itself", due);
    if let Some(approval) = &plan.approval {
        text.fact("approval", approval);
    }
    if let Some(run) = &plan.open_run {
        text.fact("open run", style.attention(&open_run(run)));
    }
    text.line("");
    let mut table = Table::new(["STEP", "SAFETY AFTER IT", "WHAT"]);
    for step in &plan.steps {
        table.row([step.step.to_string(), step.safety.to_string(), step.what.clone()]);
        if step.point_of_no_return {
            table.row([
                "--".into(),
                "--".into(),
                "point of no return: until here `keywheel run rollback` goes back to the old one, from here on only forward".into(),
            ]);
        }
    }
    text.lines(&table.to_text(style));
    for warning in &plan.warnings {
        text.line(format_args!("{} {warning}", style.attention("warning:")));
    }
    for problem in &plan.problems {
        text.line(format_args!("{} {problem}", style.bad("problem:")));
    }
    text.finish()
}

/// That a run is open, and what it waits for: `rotate` is refused until it is over.
fn open_run(run: &RunView) -> String {
    let wait = run.waits_until.map(|until| {
        let what = run.waits_for.unwrap_or("its time");
        format!(" until {}, for {what}", time::show(until))
    });
    let parked = run
        .parked
        .as_ref()
        .map(|parked| format!(", {}: {}", word_of(&parked.cause), parked.detail));
    format!(
        "{}: {}{}{}; no other run of the secret starts before it is over",
        run.run,
        word_of(&run.state),
        wait.unwrap_or_default(),
        parked.unwrap_or_default()
    )
}

/// What becomes of the old credential, and when.
fn fate(plan: &PlanView, after: &str) -> String {
    if plan.sets_first {
        "not in the vault: it dies at `apply`, or, where the target keeps several, lives on until somebody takes it away there".to_owned()
    } else if plan.class.has_gap() && plan.strategy == Strategy::OneSlot {
        format!("dead from `apply` on; that is proved {after} after the promotion at the earliest")
    } else {
        format!("accepted for {after} after the promotion at least, then revoked")
    }
}

/// A target as a person writes it: `postgres db:5432`.
fn label(name: &str, values: &[Value]) -> String {
    let values: Vec<String> = values
        .iter()
        .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .collect();
    let words = [name, &values.join(":")];
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn strategy(plan: &PlanView) -> String {
    format!("{} (class {:?})", word_of(&plan.strategy), plan.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_and_an_account_are_shown_as_a_person_writes_them() {
        let values = |words: &[&str]| words.iter().copied().map(Value::from).collect::<Vec<_>>();
        assert_eq!(
            label("postgres", &values(&["localhost", "5432"])),
            "postgres localhost:5432"
        );
        assert_eq!(label("", &values(&["app"])), "app");
        assert_eq!(label("", &[Value::from(7)]), "7");
        assert_eq!(label("something else", &[]), "something else");
    }
}
