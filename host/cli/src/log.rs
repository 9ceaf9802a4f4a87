//! The host's own log, on standard error: warnings only, unless `-v` asks for more or the host runs as a service.

use std::sync::Arc;

use keywheel_engine::SystemClock;
use keywheel_model::Clock as _;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;

use crate::args::Global;
use crate::cmd::serve::LogFormat;
use crate::log::lines::Lines;
use crate::terminal::{Own, Service, Terminal};
use crate::time;

mod lines;

pub(crate) use lines::Queue;

/// Set where standard error is the journal of systemd, which notes the time of each line itself: systemd.exec(5).
const JOURNAL: &str = "JOURNAL_STREAM";

/// The time of a line, as people read it.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        line.write_str(&time::exact(SystemClock.now()))
    }
}

/// Held until the process ends: then what is still on its way is written, for a second at most.
pub(crate) struct Log(#[expect(dead_code, reason = "held for its drop alone")] Option<WorkerGuard>);

/// Starts it. Only events of this host's own crates are shown: those of libraries may quote what they were given, and
/// with it a secret; ours are made of names, ids and codes. Also what the process itself talks to: of a service both come from a thread of
/// their own, so that one who does not read them keeps no rotation waiting.
pub(crate) fn start(global: &Global, serve: Option<LogFormat>) -> (Log, Arc<dyn Terminal>) {
    let (lines, guard) = if serve.is_some() {
        let (lines, guard) = Lines::queued();
        (lines, Some(guard))
    } else {
        (Lines::Direct, None)
    };
    let terminal: Arc<dyn Terminal> = match &lines {
        Lines::Direct => Arc::new(Own),
        Lines::Queued(queue) => Arc::new(Service(Arc::clone(queue))),
    };
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        // What a host does that nobody started is to be read afterwards.
        (false, 0) if serve.is_some() => LevelFilter::INFO,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::TRACE,
    };
    let ours = tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("keywheel"));
    let layer = fmt::layer().with_writer(lines).with_ansi(false);
    let layer = if serve == Some(LogFormat::Json) {
        layer.json().flatten_event(true).boxed()
    } else if serve.is_some() && std::env::var_os(JOURNAL).is_none() {
        layer.with_timer(Now).boxed()
    } else {
        layer.without_time().boxed()
    };
    let layer = layer.with_filter(ours).with_filter(level);
    // Started once, as the first thing: a second subscriber cannot be there.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    (Log(guard), terminal)
}
