//! A TCP proxy on 127.0.0.1 that knows where a login or a change begins and ends, and asks at both places what is to become of it.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::dialect::{Asked, Dialect, Make};

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A statement that changes credentials.
    Change,
    Login,
}

/// A login or a change on its way.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Counts up over all connections.
    pub(crate) id: u64,
    pub(crate) asked: Asked,
}

/// What is to become of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It is not delivered; the connection ends.
    Drop,
    /// Neither it nor anything after it is delivered, in this direction and the other; the connection stays open.
    Hole,
    /// It is not delivered; the connection is reset.
    Reset,
}

/// Who is asked. Each call holds the bytes of its connection until it returns.
pub(crate) trait Hooks: Send + Sync {
    /// Before a statement or a login is sent.
    fn before(&self, exchange: &Exchange) -> Verdict;
    /// When its answer is complete, before that is delivered.
    fn after(&self, exchange: &Exchange, well: bool) -> Verdict;
    /// It was sent, and the connection ended without an answer.
    fn gone(&self, exchange: &Exchange);
}

/// The proxy; ends its connections when dropped.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server_port: u16,
    make: Make,
    hooks: Arc<dyn Hooks>,
    exchanges: AtomicU64,
    /// A client that goes away is not told to the server.
    keeping: AtomicBool,
    over: AtomicBool,
    links: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn start(server_port: u16, make: Make, hooks: Arc<dyn Hooks>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server_port,
            make,
            hooks,
            exchanges: AtomicU64::new(0),
            keeping: AtomicBool::new(false),
            over: AtomicBool::new(false),
            links: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let _ = open(&accepting, client);
            }
        });
        Ok(Self { port, shared })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the server's side of a connection stays open when its client dies, as behind a network that falls silent.
    pub(crate) fn keep_server_side(&self, keeping: bool) {
        self.shared.keeping.store(keeping, Ordering::SeqCst);
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for stream in lock(&self.shared.links).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the loop up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Link {
    shared: Arc<Shared>,
    client: TcpStream,
    server: TcpStream,
    /// What was sent and has no answer yet, by the group in which the answer comes. None once the server is gone.
    sent: Mutex<Option<VecDeque<(u64, Exchange)>>>,
    /// Nothing passes any more.
    hole: AtomicBool,
}

fn open(shared: &Arc<Shared>, client: TcpStream) -> Result<()> {
    // A server that is down refuses: so does the proxy.
    let server = TcpStream::connect(("127.0.0.1", shared.server_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let mut links = lock(&shared.links);
        links.retain(|stream| stream.peer_addr().is_ok());
        links.extend([client.try_clone()?, server.try_clone()?]);
    }
    let (requests, answers) = (shared.make)();
    let link = Arc::new(Link {
        shared: Arc::clone(shared),
        client,
        server,
        sent: Mutex::new(Some(VecDeque::new())),
        hole: AtomicBool::new(false),
    });
    let other = Arc::clone(&link);
    thread::spawn(move || {
        let _ = link.forward(requests);
        link.client_is_gone();
    });
    thread::spawn(move || {
        let _ = other.back(answers);
        other.server_is_gone();
    });
    Ok(())
}

impl Link {
    /// From the client to the server.
    fn forward(&self, mut dialect: Box<dyn Dialect>) -> Result<()> {
        let (mut pending, mut group) = (Vec::new(), 1);
        while read_more(&self.client, &mut pending)? {
            if self.hole.load(Ordering::SeqCst) {
                // Reads on, as a network that loses everything does, until the client gives up.
                pending.clear();
            }
            while let Some(request) = dialect.request(&pending) {
                if let Some(asked) = request.asked {
                    let id = self.shared.exchanges.fetch_add(1, Ordering::SeqCst);
                    let exchange = Exchange { id, asked };
                    match self.shared.hooks.before(&exchange) {
                        Verdict::Pass => self.awaits(group, exchange),
                        verdict => self.stop(verdict),
                    }
                }
                if self.hole.load(Ordering::SeqCst) {
                    pending.clear();
                    break;
                }
                group += u64::from(request.ends_group);
                (&self.server).write_all(&pending[..request.length])?;
                pending.drain(..request.length);
            }
        }
        Ok(())
    }

    /// From the server to the client. What was asked for is held until it is complete.
    fn back(&self, mut dialect: Box<dyn Dialect>) -> Result<()> {
        let (mut pending, mut group, mut held) = (Vec::new(), 1, 0);
        let mut deaf = false;
        while read_more(&self.server, &mut pending)? {
            while let Some(answer) = pending.get(held..).and_then(|rest| dialect.answer(rest)) {
                held += answer.length;
                let exchange = lock(&self.sent)
                    .as_ref()
                    .and_then(VecDeque::front)
                    .filter(|(of, _)| *of == group)
                    .map(|(_, exchange)| exchange.clone());
                // A login is a dialogue: only the answer that decides is held.
                let waits = matches!(&exchange, Some(exchange) if exchange.asked.kind == Kind::Change);
                if waits && !answer.ends_group {
                    continue;
                }
                if let Some(exchange) = exchange.filter(|_| answer.ends_group) {
                    lock(&self.sent).as_mut().and_then(VecDeque::pop_front);
                    match self.shared.hooks.after(&exchange, answer.well) {
                        Verdict::Pass => {}
                        verdict => {
                            self.stop(verdict);
                            deaf = true;
                        }
                    }
                }
                group += u64::from(answer.ends_group);
                // A client that is gone does not keep us from hearing what the server did.
                deaf |= self.hole.load(Ordering::SeqCst);
                deaf = deaf || (&self.client).write_all(&pending[..held]).is_err();
                pending.drain(..held);
                held = 0;
            }
        }
        Ok(())
    }

    /// An answer is to come. From a server that went away while it was held there is none.
    fn awaits(&self, group: u64, exchange: Exchange) {
        match lock(&self.sent).as_mut() {
            Some(sent) => sent.push_back((group, exchange)),
            None => self.shared.hooks.gone(&exchange),
        }
    }

    fn stop(&self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => {}
            Verdict::Hole => self.hole.store(true, Ordering::SeqCst),
            Verdict::Drop => {
                self.hole.store(true, Ordering::SeqCst);
                let _ = self.client.shutdown(Shutdown::Both);
            }
            Verdict::Reset => {
                self.hole.store(true, Ordering::SeqCst);
                // What makes the kernel send a reset and no polite end.
                let _ = rustix::net::sockopt::set_socket_linger(&self.client, Some(Duration::ZERO));
                let _ = rustix::net::connect_unspec(&self.client);
            }
        }
    }

    fn client_is_gone(&self) {
        if !self.shared.keeping.load(Ordering::SeqCst) {
            // The other half stays open: what the server did with the last statement is still heard.
            let _ = self.server.shutdown(Shutdown::Write);
        }
    }

    fn server_is_gone(&self) {
        let sent = lock(&self.sent).take();
        for (_, exchange) in sent.into_iter().flatten() {
            self.shared.hooks.gone(&exchange);
        }
        if !self.hole.load(Ordering::SeqCst) {
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }
}

/// Whether something came.
fn read_more(mut from: &TcpStream, into: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 16 * 1024];
    let count = from.read(&mut buffer)?;
    into.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}

#[cfg(test)]
mod tests;
