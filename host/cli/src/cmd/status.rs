//! `keywheel status`: what needs attention, sorted by the time to harm.

use std::time::Duration;

use clap::Args;
use keywheel_config::{parse_duration, show_duration};
use keywheel_engine::view::Attention;
use keywheel_engine::{Engine, ExpiringView, ExpiryView, NEEDS_PASSPHRASE};

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Text};
use crate::time;

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print what stops to be valid within this time, like 30d, and what nobody looks after
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    expiring: Option<Duration>,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_to_look(context).await?;
    if let Some(within) = arguments.expiring {
        return expiring(&engine, within, context).await;
    }
    let list = engine.status().await?;
    // How such a host is meant to be is nothing to act on: it is said, and is not in the list.
    let sealed = engine.needs_passphrase();
    context.output.data(&list, |style| text(&list, sealed, style))?;
    if sealed && context.output.is_json() {
        context.output.say(&sealed_words());
    }
    Ok(if list.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

async fn expiring(engine: &Engine, within: Duration, context: &Context) -> Result<ExitCode, Failure> {
    let list = engine.expiry(within).await?;
    context
        .output
        .data(&list, |style| text_of_expiry(&list, within, style))?;
    Ok(if list.expiring.iter().all(ExpiringView::is_renewed_in_time) {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

fn text_of_expiry(list: &ExpiryView, within: Duration, style: Style) -> String {
    let mut text = Text::default();
    if list.expiring.is_empty() {
        let within = show_duration(within);
        text.line(format_args!(
            "{} nothing is known to expire within {within}",
            style.good("ok")
        ));
    }
    for one in &list.expiring {
        let expires = time::show(one.expires_at);
        let renewed = match (&one.rotation, one.renews_at) {
            (Some(rotation), Some(renews)) => format!("{rotation} renews it {}", time::show(renews)),
            (Some(rotation), None) => format!("no time is known at which {rotation} renews it"),
            (None, _) => "nothing renews it".to_owned(),
        };
        let secret = if one.is_renewed_in_time() {
            one.secret.to_string()
        } else {
            style.attention(one.secret.as_str())
        };
        text.line(format_args!("{secret}: expires {expires}; {renewed}"));
    }
    if !list.unmanaged.is_empty() {
        text.line("unmanaged: no rotation renews it, and nobody knows when it expires");
    }
    for one in &list.unmanaged {
        text.line(format_args!(
            "  {} is there since {}",
            one.secret,
            time::show(one.since)
        ));
    }
    text.finish()
}

fn sealed_words() -> String {
    format!(
        "vault: {NEEDS_PASSPHRASE}; secrets were not looked at: `keywheel status` on a terminal asks for it"
    )
}

fn text(list: &[Attention], sealed: bool, style: Style) -> String {
    let mut text = Text::default();
    if list.is_empty() {
        text.line(format_args!("{} nothing needs attention", style.good("ok")));
    }
    if sealed {
        text.line(sealed_words());
    }
    for entry in list {
        let harm = entry
            .harm_at
            .map(|at| format!(" ({})", time::show(at)))
            .unwrap_or_default();
        text.line(format_args!(
            "{} {}{harm}",
            style.attention(&format!("{}:", entry.subject)),
            entry.what
        ));
        text.line(format_args!("  {} {}", style.hint("hint:"), entry.way_out));
    }
    text.finish()
}
