//! The host's own log, on standard error: warnings only, unless `-v` asks for more or the host runs as a service.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::args::Global;
use crate::cmd::serve::LogFormat;
use crate::visible::LogLines;

/// Starts it. Only events of this host's own crates are shown: those of libraries may quote what they were given, and
/// with it a secret; ours are made of names, ids and codes.
pub(crate) fn start(global: &Global, serve: Option<LogFormat>) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        // What a host does that nobody started is to be read afterwards.
        (false, 0) if serve.is_some() => LevelFilter::INFO,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::TRACE,
    };
    let ours = tracing_subscriber::filter::filter_fn(|metadata| metadata.target().starts_with("keywheel"));
    let layer = fmt::layer().with_writer(LogLines).with_ansi(false);
    let layer = if serve == Some(LogFormat::Json) {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.without_time().boxed()
    };
    let layer = layer.with_filter(ours).with_filter(level);
    // Started once, as the first thing: a second subscriber cannot be there.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}
