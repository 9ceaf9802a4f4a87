//! `keywheel audit search`.

use clap::Args;
use keywheel_engine::AuditQuery;
use keywheel_model::{RunId, SecretName, Timestamp};

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Table;
use crate::time;

/// Searches.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what touched this secret: rows of it, uses of it by plugins, what was asked of its runs
    #[arg(long, value_name = "NAME")]
    secret: Option<SecretName>,
    /// Only of this secret, rotation or plugin
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Only by this actor
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, like `secret.read`
    #[arg(long)]
    action: Option<String>,
    /// Only in this run
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Not before this time (UTC)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<Timestamp>,
    /// Before this time (UTC)
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Timestamp>,
    /// The oldest row first, instead of the newest
    #[arg(long)]
    oldest_first: bool,
    /// Only rows before this one, to go on with a long list
    #[arg(long, value_name = "ROW")]
    before: Option<u64>,
    /// Only rows after this one, to go on with a list that begins with the oldest
    #[arg(long, value_name = "ROW", default_value_t = 0)]
    after: u64,
    /// At most so many rows
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let limit = arguments.limit;
    let query = AuditQuery {
        resource: arguments.resource,
        secret: arguments.secret.map(|name| name.to_string()),
        actor: arguments.actor,
        action: arguments.action,
        run: arguments.run,
        from: arguments.since,
        to: arguments.until,
        after: arguments.after,
        before: arguments.before,
        oldest_first: arguments.oldest_first,
        limit,
    };
    let rows = host::open(context).await?.audit(query).await?;
    context.output.data(&rows, |style| {
        let mut table = Table::new(["ROW", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "RUN"]);
        for row in &rows {
            table.row([
                row.seq.to_string(),
                time::show(row.at),
                row.actor.clone(),
                row.action.clone(),
                row.resource.clone(),
                row.outcome.clone(),
                row.run
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
            ]);
        }
        table.to_text(style)
    })?;
    if let Some(last) = rows.last().filter(|_| rows.len() == limit as usize) {
        context.output.next(&if arguments.oldest_first {
            format!("keywheel audit search --oldest-first --after {}", last.seq)
        } else {
            format!("keywheel audit search --before {}", last.seq)
        });
    }
    Ok(ExitCode::Ok)
}
