//! One request of HTTP/1.1 (RFC 9112) on a connection of its own, to a checked address.
//!
//! Nothing is followed, decompressed, kept or tried again. What the caller gives is sent as it is: it has looked at names and values.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use keywheel_model::{Effect, SecretBytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::dial::{Allow, Dialled};
use crate::tls::{TlsOptions, handshake};
use crate::{Deadline, Error, Outbound};

/// Most bytes of a status line and headers that are read.
const HEAD_BYTES: usize = 64 << 10;
/// Most headers of an answer.
const HEADERS: usize = 128;

const ASKING: &str = "waiting for an answer of HTTP";
const READING: &str = "reading the body of an answer of HTTP";

/// A request, whole.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `Some`: with TLS, by this trust set or the operating system's. `None`: without, where the rule allows it.
    pub tls: Option<Option<String>>,
    /// Path and query, encoded. May hold a secret.
    pub target: SecretBytes,
    /// Name, value. May hold secrets. `Host`, `Accept-Encoding`, `Connection` and the length are written here.
    pub headers: Vec<(String, SecretBytes)>,
    /// The body.
    pub body: Option<SecretBytes>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Name in small letters, value.
    pub headers: Vec<(String, SecretBytes)>,
    /// The body.
    pub body: SecretBytes,
}

impl Answer {
    /// What became of a request that could change something. A server that answers with 4xx has not done it; where it failed (5xx) or sends us elsewhere
    /// (3xx) nobody knows.
    pub fn effect(&self) -> Effect {
        match self.status {
            200..=299 => Effect::Applied,
            400..=499 => Effect::None,
            _ => Effect::Maybe,
        }
    }
}

/// Dials, sends and reads the whole answer, of which the body has at most `limit` bytes.
///
/// # Errors
/// What cannot be sent ([`Error::Invalid`]), what keeps a connection from being had, without effect. After the request has left:
/// [`Error::Timeout`], [`Error::Lost`], [`Error::Protocol`] and [`Error::Limit`] with the effect `maybe`.
pub async fn send(
    outbound: &Outbound,
    rules: &[Allow],
    request: Request,
    limit: usize,
    deadline: Deadline,
) -> Result<Answer, Error> {
    let (host, port, tls) = (request.host.clone(), request.port, request.tls.clone());
    let written = written(request)?;
    let dialled = outbound.dialer.dial(rules, &host, port, deadline).await?;
    let Dialled {
        stream,
        plaintext_allowed,
        ..
    } = dialled;
    match tls {
        Some(trust) => {
            let options = TlsOptions {
                trust,
                alpn: vec![b"http/1.1".to_vec()],
                ..TlsOptions::for_name(&host)
            };
            let stream = handshake(stream, &options, &outbound.trust, deadline).await?;
            exchange(stream, written, limit, deadline).await
        }
        None if plaintext_allowed => exchange(stream, written, limit, deadline).await,
        None => Err(Error::PlaintextDenied { host, port }),
    }
}

/// As the library takes it.
fn written(request: Request) -> Result<hyper::Request<Full<Bytes>>, Error> {
    let unfit = |what: &'static str| Error::invalid(what);
    let uri = Uri::try_from(request.target.expose()).map_err(|_| unfit("a path or query cannot be sent"))?;
    let method =
        Method::from_bytes(request.method.as_bytes()).map_err(|_| unfit("a method cannot be sent"))?;
    let body = request
        .body
        .as_ref()
        .map(|body| Bytes::copy_from_slice(body.expose()));
    let has_body = body.is_some();
    let mut written = hyper::Request::new(Full::new(body.unwrap_or_default()));
    let wants_length = has_body || matches!(method, Method::POST | Method::PUT | Method::PATCH);
    (*written.method_mut(), *written.uri_mut()) = (method, uri);
    let length = request.body.as_ref().map_or(0, |body| body.expose().len());
    let headers = written.headers_mut();
    let value = |bytes: &[u8]| {
        let value = HeaderValue::from_bytes(bytes);
        value.map_err(|_| unfit("the value of a header has characters that break it"))
    };
    headers.insert(header::HOST, value(authority(&request).as_bytes())?);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if wants_length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    for (name, secret) in &request.headers {
        let name =
            HeaderName::try_from(name.as_str()).map_err(|_| unfit("the name of a header cannot be sent"))?;
        let mut value = value(secret.expose())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(written)
}

/// Host and port as the `Host` header has them: without the port that everybody knows (RFC 9110 7.2).
fn authority(request: &Request) -> String {
    let host = if request.host.contains(':') {
        format!("[{}]", request.host)
    } else {
        request.host.clone()
    };
    let usual = if request.tls.is_some() { 443 } else { 80 };
    if request.port == usual {
        host
    } else {
        format!("{host}:{}", request.port)
    }
}

async fn exchange<S>(
    stream: S,
    request: hyper::Request<Full<Bytes>>,
    limit: usize,
    deadline: Deadline,
) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let shaken = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| failed(error, ASKING, Effect::None))?;
    // Whatever ends this ends the connection.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let asked = deadline
        .run(ASKING, Effect::Maybe, sender.try_send_request(request))
        .await?;
    let answer = asked.map_err(|mut error| {
        // Given back: not a byte of it has left.
        let effect = if error.take_message().is_some() {
            Effect::None
        } else {
            Effect::Maybe
        };
        failed(error.into_error(), ASKING, effect)
    })?;
    let (head, body) = answer.into_parts();
    if head
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(Error::Protocol {
            expected: "an answer as it is: this one is compressed",
            effect: Effect::Maybe,
        });
    }
    let body = deadline
        .run(READING, Effect::Maybe, collect(body, limit))
        .await??;
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), SecretBytes::copy_of(value.as_bytes())));
    Ok(Answer {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body,
    })
}

async fn collect(body: Incoming, limit: usize) -> Result<SecretBytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(SecretBytes::copy_of(&whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::Limit {
            what: "the body of an answer of HTTP",
            limit,
            effect: Effect::Maybe,
        }),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => failed(*error, READING, Effect::Maybe),
            Err(other) => lost(io::Error::other(other), READING, Effect::Maybe),
        }),
    }
}

fn failed(error: hyper::Error, doing: &'static str, effect: Effect) -> Error {
    if error.is_parse() {
        return Error::Protocol {
            expected: "an answer of HTTP/1.1 of a size that is taken",
            effect,
        };
    }
    lost(io::Error::other(error), doing, effect)
}

fn lost(source: io::Error, doing: &'static str, effect: Effect) -> Error {
    Error::Lost {
        doing,
        effect,
        source,
    }
}
