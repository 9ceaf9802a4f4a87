//! `keywheel plan`: what a rotation would do, and what would stop it, before anything is written.

use std::time::Duration;

use clap::Args;
use keywheel_engine::view::PlanView;

use crate::cmd::rotate::Which;
use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text, word_of};

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
    let mut plans = Vec::new();
    for name in arguments.which.of(engine.config())? {
        plans.push(engine.plan(&name).await?);
    }
    context.output.data(&plans, |style| {
        let texts: Vec<String> = plans.iter().map(|plan| text(plan, style)).collect();
        texts.join("\n")
    })?;
    if plans.iter().any(|plan| !plan.problems.is_empty()) {
        return Ok(ExitCode::Conflict);
    }
    for plan in &plans {
        context.output.next(&format!("keywheel rotate {}", plan.rotation));
    }
    Ok(if plans.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

/// A plan, for people.
pub(crate) fn text(plan: &PlanView, style: Style) -> String {
    let mut text = Text::default();
    text.line(format_args!(
        "{} ({}) by {}",
        plan.rotation, plan.secret, plan.plugin
    ));
    text.fact("digest", &plan.digest);
    text.fact("target", format_args!("{} account {}", plan.target, plan.account));
    text.fact("strategy", strategy(plan));
    text.fact("hosts", plan.hosts.join(", "));
    text.fact("capabilities", plan.capabilities.join(", "));
    if let Some(gap) = &plan.gap {
        text.fact("gap", style.attention(gap));
    }
    let after = keywheel_config::show_duration(Duration::from_millis(plan.revoke_after_ms));
    text.fact(
        "old credential",
        format_args!("lives {after} after the promotion"),
    );
    text.line("");
    let mut table = Table::new(["STEP", "SAFETY", "WHAT"]);
    for step in &plan.steps {
        table.row([step.step.to_string(), step.safety.to_string(), step.what.clone()]);
        if step.point_of_no_return {
            table.row([
                "--".into(),
                "--".into(),
                "point of no return: from here on only forward".into(),
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

fn strategy(plan: &PlanView) -> String {
    format!("{} (class {:?})", word_of(&plan.strategy), plan.class)
}
