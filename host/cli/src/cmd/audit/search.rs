//! `keywheel audit search`.

use clap::Args;
use keywheel_engine::{AuditQuery, Engine};
use keywheel_model::{RunId, SecretName, Timestamp};

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::Table;
use crate::{time, visible};

/// Rows, where nothing else is said.
const LIMIT: u32 = 100;
/// More names are not listed.
const NAMED: usize = 12;

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
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let limit = arguments.limit;
    let again = again(&arguments);
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
    let engine = host::open(context).await?;
    let rows = engine.audit(query.clone()).await?;
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
        let side = if arguments.oldest_first {
            "--after"
        } else {
            "--before"
        };
        context.output.next(&format!("{again} {side} {}", last.seq));
    }
    if rows.is_empty() {
        nothing(&query, &engine, context).await?;
    }
    Ok(ExitCode::Ok)
}

/// The same search, as it is typed, but for the row to go on from.
fn again(arguments: &Arguments) -> String {
    let mut words = vec!["keywheel audit search".to_owned()];
    let mut add = |option: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{option} {}", quoted(&value))));
    };
    add("--secret", arguments.secret.as_ref().map(ToString::to_string));
    add("--resource", arguments.resource.clone());
    add("--actor", arguments.actor.clone());
    add("--action", arguments.action.clone());
    add("--run", arguments.run.as_ref().map(ToString::to_string));
    add("--since", arguments.since.map(time::exact));
    add("--until", arguments.until.map(time::exact));
    add(
        "--limit",
        (arguments.limit != LIMIT).then(|| arguments.limit.to_string()),
    );
    // The other side stays where it was.
    if arguments.oldest_first {
        add("--before", arguments.before.map(|row| row.to_string()));
        words.push("--oldest-first".to_owned());
    } else {
        add(
            "--after",
            (arguments.after > 0).then(|| arguments.after.to_string()),
        );
    }
    words.join(" ")
}

/// For a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", visible::text(word, &[]).replace('\'', "'\\''"))
}

/// Whoever has mistyped a name is told so: an empty list alone reads as if nothing had been done to it.
async fn nothing(query: &AuditQuery, engine: &Engine, context: &Context) -> Result<(), Failure> {
    let known = engine.audit_names(query).await?;
    for unknown in &known {
        let names: Vec<&str> = unknown.known.iter().map(String::as_str).collect();
        let near = match keywheel_config::nearest(&unknown.name, &names) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if names.is_empty() => String::new(),
            None if names.len() <= NAMED => format!("; there are {}", names.join(", ")),
            None => format!(
                "; there are {} and {} more",
                names[..NAMED].join(", "),
                names.len() - NAMED
            ),
        };
        context.output.warn(&format!(
            "the trail has no {} `{}`{near}",
            unknown.kind,
            visible::text(&unknown.name, &[])
        ));
    }
    if known.is_empty() {
        context.output.say("no row matches");
    }
    Ok(())
}
