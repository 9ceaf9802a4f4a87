//! `keywheel status`: what needs attention, sorted by the time to harm.

use keywheel_engine::NEEDS_PASSPHRASE;
use keywheel_engine::view::Attention;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Text};
use crate::time;

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_to_look(context).await?;
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
