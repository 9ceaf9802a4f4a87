//! One request and what a server can do with it: well, badly, slowly, without end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keywheel_kit::Authority;
use keywheel_model::{Effect, SecretBytes};
use keywheel_target::dial::{Allow, Dialer, Resolver};
use keywheel_target::http::{Answer, Request, send};
use keywheel_target::tls::TrustStore;
use keywheel_target::{Deadline, Error, Outbound};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: usize = 1 << 16;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_of(text.as_bytes())
}

fn request(port: u16) -> Request {
    Request {
        method: "POST".to_owned(),
        host: "localhost".to_owned(),
        port,
        tls: None,
        target: secret("/v3/keys?a=b"),
        headers: vec![("authorization".to_owned(), secret("Bearer planted"))],
        body: Some(secret("{\"name\":\"x\"}")),
    }
}

fn outbound() -> Outbound {
    Outbound::new(Dialer::system(), TrustStore::new())
}

fn rule(text: &str) -> Allow {
    text.parse().unwrap()
}

/// Reads the head of a request and as much of a body as it says.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        text.extend_from_slice(&buffer[..count]);
        let said = String::from_utf8_lossy(&text).into_owned();
        let length = said
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok())
            .unwrap_or(0);
        let done = said
            .split_once("\r\n\r\n")
            .is_some_and(|(_, body)| body.len() >= length);
        if done || count == 0 {
            return said;
        }
    }
}

/// A server for one connection that answers with these bytes, and then closes; what it was asked.
async fn server(answer: Vec<u8>) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = read_request(&mut stream).await;
        // Who has read enough may have gone.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        asked
    });
    (port, served)
}

async fn ask(answer: impl Into<Vec<u8>>) -> Result<Answer, Error> {
    let (port, _served) = server(answer.into()).await;
    let rules = [rule(&format!("localhost:{port} plaintext"))];
    send(&outbound(), &rules, request(port), LIMIT, soon()).await
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_and_its_answer_read_whole() {
    let answer = "HTTP/1.1 201 Created\r\nX-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n5\r\n\":1}\n\r\n0\r\n\r\n";
    let (port, served) = server(answer.into()).await;
    let rules = [rule(&format!("localhost:{port} plaintext"))];
    let answer = send(&outbound(), &rules, request(port), LIMIT, soon())
        .await
        .unwrap();
    assert_eq!((answer.status, answer.effect()), (201, Effect::Applied));
    assert_eq!(answer.body.expose(), b"{\"a\":1}\n");
    let id = answer.headers.iter().find(|(name, _)| name == "x-id").unwrap();
    assert_eq!(id.1.expose(), b"7");
    let asked = served.await.unwrap();
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next().unwrap(), "POST /v3/keys?a=b HTTP/1.1");
    let mut headers: Vec<String> = lines.map(str::to_owned).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "accept-encoding: identity".to_owned(),
            "authorization: Bearer planted".to_owned(),
            "connection: close".to_owned(),
            "content-length: 12".to_owned(),
            format!("host: localhost:{port}"),
        ]
    );
    assert_eq!(body, "{\"name\":\"x\"}");
}

#[tokio::test]
async fn the_effect_is_what_the_answer_says_and_doubt_where_there_is_none() {
    for (status, effect) in [
        ("200 OK", Effect::Applied),
        ("204 No Content", Effect::Applied),
        ("302 Found", Effect::Maybe),
        ("401 Unauthorized", Effect::None),
        ("429 Too Many Requests", Effect::None),
        ("500 Internal Server Error", Effect::Maybe),
        ("503 Service Unavailable", Effect::Maybe),
    ] {
        let answer = ask(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
            .await
            .unwrap();
        assert_eq!(answer.effect(), effect, "{status}");
    }
    for lost in [
        "",
        "HTTP/1.1 201 Cre",
        "HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nshort",
    ] {
        let error = ask(lost).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Maybe, "{lost:?}: {error}");
    }
    // Nobody listens: nothing was sent.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let rules = [rule(&format!("localhost:{port} plaintext"))];
    let error = send(&outbound(), &rules, request(port), LIMIT, soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.effect(), Effect::None);
}

#[tokio::test]
async fn an_answer_without_end_is_an_answer_too_long() {
    let long = "x".repeat(LIMIT + 1);
    for head in [format!("Content-Length: {}\r\n", long.len()), String::new()] {
        let error = ask(format!("HTTP/1.1 200 OK\r\n{head}\r\n{long}"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Limit {
                    effect: Effect::Maybe,
                    ..
                }
            ),
            "{error}"
        );
    }
    let error = ask(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 17)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Protocol {
                effect: Effect::Maybe,
                ..
            }
        ),
        "{error}"
    );
    let many = "X: y\r\n".repeat(200);
    let error = ask(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_answer_of_http_is_none() {
    for text in [
        "SSH-2.0-x\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let error = ask(text).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Maybe, "{text:?}: {error}");
    }
    let error = ask("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// Abuse case 12: a target that says nothing, or one byte at a time.
#[tokio::test]
async fn a_silent_server_costs_the_deadline_and_no_more() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let rules = [rule(&format!("localhost:{port} plaintext"))];
    let deadline = Deadline::after(Duration::from_millis(200));
    let error = send(&outbound(), &rules, request(port), LIMIT, deadline)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                effect: Effect::Maybe,
                ..
            }
        ),
        "{error}"
    );
}

/// Abuse case 5: it is an answer like any other; nothing goes to where it points.
#[tokio::test]
async fn a_redirect_is_an_answer() {
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let there = elsewhere.local_addr().unwrap().port();
    for location in [
        format!("http://localhost:{there}/"),
        "http://169.254.169.254/".to_owned(),
    ] {
        let answer = ask(format!(
            "HTTP/1.1 307 T\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await
        .unwrap();
        assert_eq!(answer.status, 307);
    }
    let came = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(came.is_err(), "somebody followed");
}

#[tokio::test]
async fn what_would_break_out_of_its_place_is_not_sent() {
    let rules = [rule("localhost:9 plaintext")];
    for (name, value) in [
        ("x", "a\r\nb: c"),
        ("x", "a\0"),
        ("x y", "a"),
        ("x\r\ny", "a"),
        ("", "a"),
    ] {
        let mut request = request(9);
        request.headers.push((name.to_owned(), secret(value)));
        let error = send(&outbound(), &rules, request, LIMIT, soon())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Invalid { .. }),
            "{name:?} {value:?}: {error}"
        );
        assert!(!error.to_string().contains("a\r\n"));
    }
    for target in ["/a b", "/a\r\nb", ""] {
        let mut request = request(9);
        request.target = secret(target);
        let error = send(&outbound(), &rules, request, LIMIT, soon())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{target:?}: {error}");
    }
}

#[tokio::test]
async fn without_a_word_of_the_rule_nothing_goes_out_in_plaintext() {
    let (port, served) = server(Vec::new()).await;
    let rules = [rule(&format!("localhost:{port} tls"))];
    let error = send(&outbound(), &rules, request(port), LIMIT, soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::PlaintextDenied { .. }), "{error}");
    assert_eq!(served.await.unwrap(), "");
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_for_the_host_that_is_dialled() {
    let authority = Authority::new().unwrap();
    for (names, trusted, expected) in [
        (&["localhost"][..], true, None),
        (&["localhost"], false, Some("tls.untrusted")),
        (&["other.example"], true, Some("tls.name")),
    ] {
        let (port, served) = tls_server(&authority, names).await;
        let mut trust = TrustStore::new();
        let pem = if trusted {
            authority.pem().to_owned()
        } else {
            Authority::new().unwrap().pem().to_owned()
        };
        trust.add_pem("own", pem.as_bytes()).unwrap();
        let outbound = Outbound::new(Dialer::system(), trust);
        let rules = [rule(&format!("localhost:{port} tls"))];
        let request = Request {
            tls: Some(Some("own".to_owned())),
            ..request(port)
        };
        let done = send(&outbound, &rules, request, LIMIT, soon()).await;
        match (done, expected) {
            (Ok(answer), None) => assert_eq!(answer.status, 204),
            (Err(error), Some(code)) => {
                assert_eq!((error.code(), error.effect()), (code.into(), Effect::None));
            }
            (done, expected) => panic!("{done:?}, not {expected:?}"),
        }
        served.abort();
    }
}

async fn tls_server(authority: &Authority, names: &[&str]) -> (u16, tokio::task::JoinHandle<()>) {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let identity = authority.issue(names).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut buffer = [0; 4096];
        let mut asked = Vec::new();
        while !asked.ends_with(b"{\"name\":\"x\"}") {
            let count = stream.read(&mut buffer).await.unwrap();
            asked.extend_from_slice(&buffer[..count]);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.shutdown().await;
    });
    (port, served)
}

/// Answers each question with the next list.
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolver for Scripted {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let next = self.answers.lock().unwrap().pop();
        next.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Abuse cases 2 and 3: a granted name that leads to metadata or to this machine is dialled nowhere, and asked for once.
#[tokio::test]
async fn a_granted_name_opens_no_address_that_is_closed() {
    for address in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "127.0.0.1",
        "10.0.0.1",
    ] {
        let list = |address: &str| vec![address.parse().unwrap()];
        let scripted = Arc::new(Scripted {
            answers: Mutex::new(vec![list("127.0.0.1"), list(address)]),
            asked: AtomicUsize::new(0),
        });
        let outbound = Outbound::new(Dialer::with_resolver(scripted.clone()), TrustStore::new());
        let mut request = request(443);
        request.host = "api.example.net".to_owned();
        request.tls = Some(None);
        // A wildcard names no host exactly.
        let rules = [rule("*.example.net:443 tls")];
        let error = send(&outbound, &rules, request, LIMIT, soon()).await.unwrap_err();
        assert_eq!(error.code(), "net.forbidden-address", "{address}: {error}");
        assert_eq!(error.effect(), Effect::None);
        assert_eq!(scripted.asked.load(Ordering::SeqCst), 1);
    }
}
