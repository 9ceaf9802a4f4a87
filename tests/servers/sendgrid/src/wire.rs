//! HTTP/1.1 over TLS as strictly as a test wants it: one request a connection, and a request that is not clean is answered with 400.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const BODY_BYTES: usize = 1 << 20;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// Without the query.
    pub path: String,
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
    let Reply::Answer(status, headers, body) = reply else {
        return Ok(());
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
    stream.write_all(format!("{text}\r\n{body}").as_bytes())?;
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
    let mut request = Request {
        method: method.to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
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

fn line(stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>) -> Result<String> {
    let mut line = String::new();
    stream.by_ref().take(16 << 10).read_line(&mut line)?;
    Ok(line
        .strip_suffix("\r\n")
        .context("a line without its end")?
        .to_owned())
}
