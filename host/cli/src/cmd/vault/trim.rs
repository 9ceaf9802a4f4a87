//! `keywheel vault trim`.

use keywheel_engine::Stop;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Text;

/// # Errors
/// The vault cannot be opened; the trail does not hold together.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let engine = host::open_unsealed(context).await?;
    let (_stopper, stop) = Stop::pair();
    let trimmed = engine.trim(&stop).await?;
    context.output.data(&trimmed, |_| {
        let mut text = Text::default();
        text.fact("runs", format_args!("{} forgotten", trimmed.runs));
        text.fact("versions", format_args!("{} forgotten", trimmed.versions));
        text.fact("audit rows", format_args!("{} cut off", trimmed.audit_rows));
        text.fact("notices", format_args!("{} forgotten", trimmed.notices));
        text.finish()
    })?;
    context
        .output
        .say("the database keeps its size: what is free in it is used again");
    Ok(ExitCode::Ok)
}
