use std::time::{Duration, Instant};

use keywheel_model::{RunId, Timestamp};
use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::Fact;

/// The id of a span among those of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub(crate) u64);

impl SpanId {
    /// Of the run's own span: the same in every process that drives it.
    pub(crate) fn of_run(run: &RunId) -> Self {
        let low = run.number() & u128::from(u64::MAX);
        Self(u64::try_from(low).unwrap_or_default().max(1))
    }

    fn fresh() -> Self {
        Self(rand::random::<u64>().max(1))
    }
}

/// The trace of a run: the number that its id is written from.
pub(crate) fn trace_of(run: &RunId) -> u128 {
    run.number().max(1)
}

/// On which side of a connection it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within the host.
    Internal,
    /// A server was called.
    Client,
}

/// What a span is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// Its name: one of few, such as `step apply`.
    pub name: String,
    /// Where.
    pub kind: Kind,
    /// What it says.
    pub facts: Vec<Fact>,
}

/// Something that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    id: SpanId,
    at: Timestamp,
    since: Instant,
}

impl Begun {
    pub(crate) fn at(at: Timestamp) -> Self {
        Self {
            id: SpanId::fresh(),
            at,
            since: Instant::now(),
        }
    }

    /// Its id, for what happens within it.
    pub fn id(&self) -> SpanId {
        self.id
    }

    pub(crate) fn ends(self, run: &RunId, parent: SpanId, what: What) -> Span {
        Span {
            trace: trace_of(run),
            id: self.id,
            parent: Some(parent),
            began: self.at,
            // The wall clock may have been set meanwhile.
            took: self.since.elapsed(),
            what,
        }
    }
}

/// What has come to its end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    trace: u128,
    id: SpanId,
    parent: Option<SpanId>,
    began: Timestamp,
    took: Duration,
    what: What,
}

impl Span {
    pub(crate) fn of_run(run: &RunId, began: Timestamp, ended: Timestamp, what: What) -> Self {
        Self {
            trace: trace_of(run),
            id: SpanId::of_run(run),
            parent: None,
            began,
            took: ended.saturating_since(began),
            what,
        }
    }

    pub(crate) fn written(&self) -> otlp::Span {
        let began = Duration::from_millis(self.began.as_unix_ms());
        let has_failed = self.what.facts.iter().any(|fact| matches!(fact, Fact::Code(_)));
        let status = has_failed.then(|| otlp::Status {
            message: String::new(),
            code: otlp::status::StatusCode::Error.into(),
        });
        otlp::Span {
            trace_id: self.trace.to_be_bytes().to_vec(),
            span_id: bytes(self.id),
            parent_span_id: self.parent.map(bytes).unwrap_or_default(),
            flags: 1,
            name: self.what.name.clone(),
            kind: match self.what.kind {
                Kind::Internal => otlp::span::SpanKind::Internal,
                Kind::Client => otlp::span::SpanKind::Client,
            }
            .into(),
            start_time_unix_nano: nanoseconds(began),
            end_time_unix_nano: nanoseconds(began.saturating_add(self.took)),
            attributes: self.what.facts.iter().cloned().map(Fact::attribute).collect(),
            status,
            ..otlp::Span::default()
        }
    }
}

fn bytes(id: SpanId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
