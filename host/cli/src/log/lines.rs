use std::io::{self, Write};
use std::sync::Arc;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::visible;

/// So many lines wait for whoever reads standard error; what comes then is lost, and counted.
const WAITING_MAX: usize = 4_096;

/// Standard error for the host's own log: one event a write, one line an event.
#[derive(Clone)]
pub(crate) enum Lines {
    /// By whoever has the event.
    Direct,
    /// By a thread of its own.
    Queued(Arc<Queue>),
}

impl Lines {
    pub(crate) fn queued() -> (Self, WorkerGuard) {
        let builder = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING_MAX)
            .lossy(true)
            .thread_name("keywheel-log");
        let (queue, guard) = builder.finish(io::stderr());
        let queue = Queue {
            lost: queue.error_counter(),
            queue,
        };
        (Self::Queued(Arc::new(queue)), guard)
    }
}

/// What waits to be written to standard error. Never keeps its caller waiting.
#[derive(Debug)]
pub(crate) struct Queue {
    queue: NonBlocking,
    lost: ErrorCounter,
}

impl Queue {
    /// Writes a text, or loses it.
    pub(crate) fn write(&self, text: &str) {
        // Each handle is one more sender to the same thread.
        let _ = self.queue.clone().write_all(text.as_bytes());
    }

    /// How many texts were lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.dropped_lines()
    }
}

/// Where an event is written to.
pub(crate) struct Line(Lines);

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.clone())
    }
}

impl Write for Line {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = visible::line(event);
        match &self.0 {
            Lines::Direct => io::stderr().lock().write_all(line.as_bytes())?,
            Lines::Queued(queue) => queue.write(&line),
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
