//! What runs did, as spans of OpenTelemetry, and the way to a collector. Knows the words of the model; not who measures. All that a span can say is a
//! closed list of [facts](Fact): names, words, numbers and codes. There is no other way into one, so that no value finds it.

#![forbid(unsafe_code)]

mod collector;
mod error;
mod fact;
mod span;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use keywheel_model::{RunId, Timestamp};
use keywheel_target::tls::TrustStore;
use tokio::sync::mpsc;

pub use collector::{Collector, Endpoint};
pub use error::Error;
pub use fact::Fact;
use span::Span;
pub use span::{Begun, Kind, SpanId, What};

/// So many spans wait for the collector; more are lost.
const QUEUE: usize = 2048;

/// Takes spans, and never makes anybody wait. Nothing is kept of them before [`Traces::collect`].
#[derive(Debug, Default)]
pub struct Traces {
    queue: OnceLock<mpsc::Sender<Span>>,
    counts: Arc<Counts>,
}

/// What became of the spans.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    lost: AtomicU64,
    /// That there is no room was told, and there has been none since.
    is_full: AtomicBool,
}

impl Traces {
    /// From now on spans are kept for a collector. What is returned hands them over. None: somebody does so already.
    pub fn collect(&self, endpoint: Endpoint, trust: Arc<TrustStore>) -> Option<Collector> {
        let (sender, queue) = mpsc::channel(QUEUE);
        self.queue.set(sender).ok()?;
        Some(Collector::new(queue, endpoint, trust, Arc::clone(&self.counts)))
    }

    /// Something begins. None: nobody collects.
    pub fn begin(&self, now: Timestamp) -> Option<Begun> {
        self.queue.get().map(|_| Begun::at(now))
    }

    /// It has come to its end, within the run, or within another span of the run.
    pub fn end(&self, begun: Begun, run: &RunId, within: Option<SpanId>, what: What) {
        let parent = within.unwrap_or_else(|| SpanId::of_run(run));
        self.keep(begun.ends(run, parent, what));
    }

    /// A run is over. Its span has the id that every span of it has named as its parent, whichever process that was in.
    pub fn run_ended(&self, run: &RunId, began: Timestamp, ended: Timestamp, what: What) {
        if self.queue.get().is_some() {
            self.keep(Span::of_run(run, began, ended, what));
        }
    }

    /// The run as a program that works for it names its parent: `traceparent` of the W3C. None: nobody collects.
    pub fn parent_of(&self, run: &RunId) -> Option<String> {
        let trace = span::trace_of(run);
        let span = SpanId::of_run(run);
        self.queue
            .get()
            .map(|_| format!("00-{trace:032x}-{:016x}-01", span.0))
    }

    /// How many spans collectors have taken, and how many were lost.
    pub fn counts(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.counts.taken), count(&self.counts.lost))
    }

    fn keep(&self, span: Span) {
        let Some(queue) = self.queue.get() else { return };
        if queue.try_send(span).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            if !self.counts.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    waiting = QUEUE,
                    "spans are lost: as many as may wait for the collector do"
                );
            }
        }
    }
}
