//! HTTP/1.1 over TLS as strictly as a test wants it: one request a connection, and a request that is not clean is answered with 400.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const BODY_BYTES: usize = 1 << 20;
/// Between two pieces of a slow answer.
const DRIP: Duration = Duration::from_millis(2);

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The parameters of the query, decoded.
    pub query: Vec<(String, String)>,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The key after `Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// User and password after `Basic`.
    pub fn basic(&self) -> Option<(String, String)> {
        let coded = self.header("authorization")?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(coded).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// The one value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.query.iter().filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The fields of the body, where it is said to be a form and is.
    pub fn form(&self) -> Option<Vec<(String, String)>> {
        let is_form = self.header("content-type") == Some("application/x-www-form-urlencoded");
        let text = std::str::from_utf8(&self.body).ok().filter(|_| is_form)?;
        pairs(text)
    }

    /// The body, where it is said to be JSON and is.
    pub fn json(&self) -> Option<Value> {
        let is_json = self.header("content-type") == Some("application/json");
        is_json.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, further headers, a body.
    Answer(u16, Vec<(String, String)>, String),
    /// The same, a few bytes at a time with a pause after each piece.
    Slow(u16, String),
    /// The connection is closed without a word.
    Nothing,
}

impl Reply {
    /// A document.
    pub fn json(status: u16, document: &Value) -> Self {
        Self::Answer(status, Vec::new(), document.to_string())
    }

    /// A status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }
}

/// A server on a free port of 127.0.0.1; it stops when it is dropped.
pub struct Listening {
    port: u16,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listening {
    /// Serves with a certificate and its key, both in PEM.
    ///
    /// # Errors
    /// They cannot be used, or there is no port.
    pub fn start(
        certificate: &str,
        key: &str,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let stopped = Arc::new(AtomicBool::new(false));
        let (stop, answer) = (Arc::clone(&stopped), Arc::new(answer));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // Who goes away in the middle has nothing to be told.
                    let _ = stream
                        .map_err(Into::into)
                        .and_then(|stream| serve(stream, config, port, &*answer));
                });
            }
        });
        Ok(Self {
            port,
            stopped,
            accepting: Some(accepting),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes whoever waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    port: u16,
    answer: &(impl Fn(&Request) -> Reply + ?Sized),
) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let reply = match read(&mut stream, port) {
        Ok(request) => answer(&request),
        Err(error) => Reply::json(
            400,
            &serde_json::json!({ "errors": [{ "message": error.to_string() }] }),
        ),
    };
    let (status, headers, body, slow) = match reply {
        Reply::Answer(status, headers, body) => (status, headers, body, false),
        Reply::Slow(status, body) => (status, Vec::new(), body, true),
        Reply::Nothing => return Ok(()),
    };
    let mut text = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    if !body.is_empty() {
        text.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        text.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
    }
    let stream = stream.get_mut();
    let text = format!("{text}\r\n{body}");
    for piece in text.as_bytes().chunks(if slow { 8 } else { text.len() }) {
        stream.write_all(piece)?;
        if slow {
            stream.flush()?;
            std::thread::sleep(DRIP);
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

fn read(stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>, port: u16) -> Result<Request> {
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        bail!("not a request line");
    };
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").context("not a header")?;
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs(query).context("not a query")?,
        headers,
        body: Vec::new(),
    };
    if request.header("host") != Some(&format!("localhost:{port}")) {
        bail!("not this host");
    }
    if request.header("accept-encoding") != Some("identity") {
        bail!("no compression is offered here");
    }
    let length: usize = request.header("content-length").unwrap_or("0").parse()?;
    if length > BODY_BYTES || (method == "POST") != (request.header("content-length").is_some()) {
        bail!("not a length");
    }
    request.body = vec![0; length];
    stream.read_exact(&mut request.body)?;
    Ok(request)
}

/// Names and values with `=` and `&` between them, decoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.replace('+', " ").into_bytes();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part[2..].replace('+', " ").into_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn line(stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>) -> Result<String> {
    let mut line = String::new();
    stream.by_ref().take(16 << 10).read_line(&mut line)?;
    Ok(line
        .strip_suffix("\r\n")
        .context("a line without its end")?
        .to_owned())
}
