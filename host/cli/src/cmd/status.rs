//! `keywheel status`: what needs attention, sorted by the time to harm.

use keywheel_engine::view::Attention;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Text};
use crate::time;

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let list = host::open(context).await?.status().await?;
    context.output.data(&list, |style| text(&list, style))?;
    Ok(if list.is_empty() {
        ExitCode::Ok
    } else {
        ExitCode::Attention
    })
}

fn text(list: &[Attention], style: Style) -> String {
    let mut text = Text::default();
    if list.is_empty() {
        text.line(format_args!("{} nothing needs attention", style.good("ok")));
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
