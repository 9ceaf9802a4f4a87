//! The running server: who listens, what all connections share, and what a test asks of it without one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::books::Books;
use crate::connection;
use crate::policy::{Identity, Policy};
use crate::sql::{Reply, Run};
use crate::value::Value;

/// Which encryption the server insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// It has none.
    None,
    /// As the client wishes: none, of the login alone, of everything, or TDS 8.0.
    #[default]
    Optional,
    /// Of everything, by 7.4 or 8.0.
    Required,
    /// TDS 8.0 alone.
    Strict,
}

/// As Azure SQL Database answers.
#[derive(Clone, Debug)]
pub struct Azure {
    /// What stands behind the `@` of a user's name.
    pub server: String,
    /// How long its cache goes on with the password before.
    pub cache: Duration,
}

/// How a server starts.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// On 127.0.0.1; 0: one that is free.
    pub port: u16,
    /// Of `sa`, if there is no state yet.
    pub password: String,
    /// What it insists on.
    pub encryption: Encryption,
    /// Certificate chain and key, in PEM; empty: no TLS.
    pub certificate: (String, String),
    /// The rules for passwords.
    pub policy: Policy,
    /// None: as SQL Server on a machine of one's own.
    pub azure: Option<Azure>,
    /// Where the books are kept; none: they end with the value.
    pub state: Option<PathBuf>,
    /// Where the log is written to, beside [`Server::log`].
    pub log: Option<PathBuf>,
}

/// What does not change while it runs.
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    pub(crate) azure: Option<Azure>,
    pub(crate) encryption: Encryption,
    /// For TLS within packets: as real servers do, 1.2 and no newer.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) strict: Option<Arc<ServerConfig>>,
    state: Option<PathBuf>,
    log: Option<PathBuf>,
}

/// A session.
pub(crate) struct Session {
    pub(crate) number: i64,
    pub(crate) identity: Identity,
    pub(crate) database: String,
    pub(crate) program: String,
    pub(crate) transactions: u32,
}

#[derive(Default)]
struct Outage {
    number: u32,
    count: u32,
}

/// What all connections of one life of the server share.
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    books: Mutex<Books>,
    log: Arc<Mutex<String>>,
    outage: Mutex<Outage>,
    sockets: Mutex<BTreeMap<i64, TcpStream>>,
    dead: AtomicBool,
}

/// A running server. It ends with its value.
pub struct Server {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    log: Arc<Mutex<String>>,
    port: u16,
    listening: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    pub(crate) fn say(&self, line: &str) {
        let mut log = lock(&self.log);
        let _ = writeln!(log, "{line}");
        if let Some(path) = &self.settings.log
            && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
        {
            let _ = writeln!(file, "{line}");
        }
    }

    /// An error that every login gets now.
    pub(crate) fn outage(&self) -> Option<u32> {
        let mut outage = lock(&self.outage);
        outage.count = outage.count.checked_sub(1)?;
        Some(outage.number)
    }

    /// Makes a change durable. False: the server is dead, and nothing of it has happened.
    pub(crate) fn keep(&self, books: &Books) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return false;
        }
        self.settings
            .state
            .as_ref()
            .is_none_or(|path| books.write(path).is_ok())
    }
}

impl Server {
    /// Starts one; it listens when this returns.
    ///
    /// # Errors
    /// The port is taken, the certificate cannot be used, the state cannot be read.
    pub fn start(options: Options) -> Result<Self> {
        let (tls, strict) = if options.certificate.0.is_empty() {
            (None, None)
        } else {
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(options.certificate.0.as_bytes()).collect();
            let key = PrivateKeyDer::from_pem_slice(options.certificate.1.as_bytes())
                .map_err(|error| anyhow!("the key: {error}"))?;
            let chain = chain.map_err(|error| anyhow!("the certificate: {error}"))?;
            let config = |versions, protocols: &[&[u8]]| -> Result<Arc<ServerConfig>> {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let builder =
                    ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
                let mut config = builder
                    .with_no_client_auth()
                    .with_single_cert(chain.clone(), key.clone_key())?;
                config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
                Ok(Arc::new(config))
            };
            (
                Some(config(&[&TLS12], &[])?),
                Some(config(&[&TLS12, &TLS13], &[b"tds/8.0"])?),
            )
        };
        let kept = options.state.as_deref().map(Books::read).transpose()?.flatten();
        let books = kept.unwrap_or_else(|| Books::new(&options.password));
        let settings = Arc::new(Settings {
            policy: options.policy,
            azure: options.azure,
            encryption: options.encryption,
            tls,
            strict,
            state: options.state,
            log: options.log,
        });
        let log = Arc::new(Mutex::new(String::new()));
        let shared = life(&settings, books, &log);
        anyhow::ensure!(shared.keep(&shared.books()), "the state cannot be written");
        let mut server = Self {
            settings,
            shared,
            log,
            port: options.port,
            listening: None,
        };
        server.listen()?;
        Ok(server)
    }

    fn listen(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).context("the port cannot be had")?;
        self.port = listener.local_addr()?.port();
        let shared = Arc::clone(&self.shared);
        self.listening = Some(thread::spawn(move || {
            let mut number = 50;
            for stream in listener.incoming() {
                if shared.dead.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                number += 1;
                if let Ok(socket) = stream.try_clone() {
                    lock(&shared.sockets).insert(number, socket);
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    connection::serve(stream, &shared, number);
                    if let Some(socket) = lock(&shared.sockets).remove(&number) {
                        let _ = socket.shutdown(Shutdown::Both);
                    }
                });
            }
        }));
        Ok(())
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every login and every statement so far, with all that stands in them.
    pub fn log(&self) -> String {
        lock(&self.log).clone()
    }

    /// Runs statements as `sa` in a database, without a connection and without a line in the log. Rows come back as lines, their columns apart
    /// by tabs.
    ///
    /// # Errors
    /// The server's own number and words.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let identity = Identity {
            name: "sa".to_owned(),
            contained_in: None,
        };
        let mut session = Session {
            number: 1,
            identity,
            database: database.to_owned(),
            program: String::new(),
            transactions: 0,
        };
        let mut books = self.shared.books();
        let mut said = String::new();
        let mut run = Run {
            settings: &self.settings,
            books: &mut books,
            session: &mut session,
            variables: Vec::new(),
            changed: false,
        };
        let done = run.batch(sql, &mut |reply| {
            if let Reply::Rows(_, rows) = reply {
                let lines = rows
                    .iter()
                    .map(|row| row.iter().map(Value::text).collect::<Vec<_>>().join("\t"));
                said.extend(lines.map(|line| line + "\n"));
            }
        });
        anyhow::ensure!(self.shared.keep(&books), "the state cannot be written");
        done.map_err(|problem| anyhow!("{}: {}", problem.number, problem.message))?;
        Ok(said.trim_end().to_owned())
    }

    /// What a login, or in a database the user of that name, takes: the server's own books.
    pub fn password_of(&self, database: &str, name: &str) -> Option<String> {
        let books = self.shared.books();
        let user = books
            .database(database)
            .and_then(|database| database.user(name)?.password.clone());
        user.or_else(|| books.login(name).map(|login| login.password.clone()))
            .map(|password| password.value)
    }

    /// As time does it: the password of a login has expired.
    pub fn expire(&self, login: &str) {
        if let Some(login) = self.shared.books().login_mut(login) {
            login.expired = true;
        }
    }

    /// The next logins are answered by this error, whatever their passwords are.
    pub fn refuse_logins(&self, number: u32, count: u32) {
        *lock(&self.shared.outage) = Outage { number, count };
    }

    /// As `kill -9`: what was not durable has never been, and every connection is cut.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn kill(&mut self) -> Result<()> {
        let books = {
            let books = self.shared.books();
            self.shared.dead.store(true, Ordering::SeqCst);
            books.clone()
        };
        for socket in lock(&self.shared.sockets).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        if let Some(listening) = self.listening.take() {
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            let _ = listening.join();
        }
        let kept = self
            .settings
            .state
            .as_deref()
            .map(Books::read)
            .transpose()?
            .flatten();
        self.shared = life(&self.settings, kept.unwrap_or(books), &self.log);
        Ok(())
    }

    /// Listens again, at the same port.
    ///
    /// # Errors
    /// The port is taken.
    pub fn restart(&mut self) -> Result<()> {
        if self.listening.is_none() {
            self.listen()
        } else {
            Ok(())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn life(settings: &Arc<Settings>, books: Books, log: &Arc<Mutex<String>>) -> Arc<Shared> {
    Arc::new(Shared {
        settings: Arc::clone(settings),
        books: Mutex::new(books),
        log: Arc::clone(log),
        outage: Mutex::default(),
        sockets: Mutex::default(),
        dead: AtomicBool::new(false),
    })
}
