//! The way to the collector: OTLP over HTTP, as protobuf. One connection for each batch; a host that rotates makes few.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use keywheel_model::address::Host;
use keywheel_target::Deadline;
use keywheel_target::tls::{TlsOptions, TrustStore, handshake};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::span::Span;
use crate::{Counts, Error, fact};

/// So many spans in one request.
const BATCH: usize = 512;

/// What comes within this after a span goes with it.
const GATHER: Duration = Duration::from_secs(1);

/// An answer is waited for so long.
const ANSWER: Duration = Duration::from_secs(10);

/// A collector that takes nothing is asked again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// What is left when the host stops has so long.
const LAST: Duration = Duration::from_secs(2);

/// More of an answer is not read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The path of a request.
    pub path: String,
    /// The trust set that its certificate must be of; none: the operating system's.
    pub trust: Option<String>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl Endpoint {
    fn authority(&self) -> String {
        match &self.host {
            Host::Address(address) => std::net::SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

/// Hands spans over, a batch at a time.
#[derive(Debug)]
pub struct Collector {
    queue: mpsc::Receiver<Span>,
    endpoint: Endpoint,
    trust: Arc<TrustStore>,
    counts: Arc<Counts>,
    /// What is being handed over.
    batch: Vec<Span>,
    /// It was told that the collector takes nothing, and it has taken nothing since.
    is_away: bool,
}

impl Collector {
    pub(crate) fn new(
        queue: mpsc::Receiver<Span>,
        endpoint: Endpoint,
        trust: Arc<TrustStore>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            queue,
            endpoint,
            trust,
            counts,
            batch: Vec::new(),
            is_away: false,
        }
    }

    /// Works until it is to stop; what is left then is tried once more, for two seconds.
    pub async fn deliver(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut pause = Duration::ZERO;
        loop {
            let sent = tokio::select! {
                biased;
                () = &mut stop => break,
                sent = self.round(pause) => sent,
            };
            pause = self.settle(sent);
        }
        self.queue.close();
        while let Ok(span) = self.queue.try_recv() {
            self.batch.push(span);
        }
        if self.batch.is_empty() {
            return;
        }
        let sent = timeout(LAST, self.send()).await;
        let sent = sent.unwrap_or(Err(Error::Silent { after: LAST }));
        if let Err(error) = &sent {
            let spans = self.batch.len();
            tracing::warn!(spans, code = error.code(), "the last spans are lost");
        }
        self.settle(sent);
        self.lose(self.batch.len());
    }

    /// The next batch, or the same one again.
    async fn round(&mut self, pause: Duration) -> Result<usize, Error> {
        sleep(pause).await;
        if self.batch.is_empty() {
            if self.queue.recv_many(&mut self.batch, BATCH).await == 0 {
                // Nobody is left who could tell anything; the stop is still to come.
                std::future::pending::<()>().await;
            }
            sleep(GATHER).await;
        }
        while self.batch.len() < BATCH
            && let Ok(span) = self.queue.try_recv()
        {
            self.batch.push(span);
        }
        self.send().await
    }

    /// What came of it: after which pause it goes on. That the collector takes nothing is told once, and so is that it does again.
    fn settle(&mut self, sent: Result<usize, Error>) -> Duration {
        match sent {
            Ok(refused) => {
                let taken = self.batch.len().saturating_sub(refused);
                let taken = u64::try_from(taken).unwrap_or(u64::MAX);
                self.counts.taken.fetch_add(taken, Ordering::Relaxed);
                self.lose(refused);
                self.batch.clear();
                self.counts.is_full.store(false, Ordering::Relaxed);
                if std::mem::take(&mut self.is_away) {
                    tracing::info!(collector = %self.endpoint, "it takes spans again");
                }
                Duration::ZERO
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    let why = because(&error);
                    tracing::warn!(collector = %self.endpoint, code = error.code(), why, "it takes no spans; rotations go on without");
                }
                if !error.may_pass() {
                    self.lose(self.batch.len());
                    self.batch.clear();
                }
                AGAIN
            }
        }
    }

    fn lose(&self, spans: usize) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.counts.lost.fetch_add(spans, Ordering::Relaxed);
    }

    /// How many of the batch the collector has refused.
    async fn send(&self) -> Result<usize, Error> {
        let spans = self.batch.iter().map(Span::written).collect();
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: fact::resource(),
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "keywheel".to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let answer = timeout(ANSWER, self.ask(request.encode_to_vec().into())).await;
        let answer = answer.unwrap_or(Err(Error::Silent { after: ANSWER }))?;
        // What cannot be read says nothing against any of them.
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(usize::try_from(refused).unwrap_or(0).min(self.batch.len()))
    }

    async fn ask(&self, body: Bytes) -> Result<Bytes, Error> {
        let Endpoint { host, port, tls, .. } = &self.endpoint;
        let host = match host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        };
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(Error::Reach)?;
        if !tls {
            return self.exchange(stream, body).await;
        }
        let options = TlsOptions {
            trust: self.endpoint.trust.clone(),
            ..TlsOptions::for_name(&host)
        };
        let stream = handshake(stream, &options, &self.trust, Deadline::after(ANSWER)).await;
        let stream = stream.map_err(|error| Error::Tls(Box::new(error)))?;
        self.exchange(stream, body).await
    }

    async fn exchange<S>(&self, stream: S, body: Bytes) -> Result<Bytes, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Http)?;
        // Whatever ends this ends the connection.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        // It was looked at when the configuration was.
        *request.uri_mut() = self.endpoint.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = self.endpoint.authority().parse() {
            headers.insert(header::HOST, host);
        }
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/x-protobuf"),
        );
        let answer = sender.send_request(request).await.map_err(Error::Http)?;
        if !answer.status().is_success() {
            return Err(Error::Refused {
                status: answer.status().as_u16(),
            });
        }
        // It was taken: what cannot be read of the words about it changes nothing.
        let said = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        Ok(said.map(http_body_util::Collected::to_bytes).unwrap_or_default())
    }
}

/// The error with what led to it.
fn because(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
