use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// A server that takes every connection and never answers.
pub struct BlackHole {
    listener: Listener,
    taken: Arc<AtomicUsize>,
}

impl BlackHole {
    /// Starts one on 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let mut held = Vec::new();
        let listener = Listener::start(move |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        })?;
        Ok(Self { listener, taken })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.address.port()
    }

    /// How many connections it took.
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// What a proxy does with the bytes.
#[derive(Default)]
struct Switches {
    /// The server's answers are swallowed.
    deaf: AtomicBool,
    /// Everything is swallowed.
    silent: AtomicBool,
    /// A client that goes away is not told to the server.
    keeping: AtomicBool,
    links: Mutex<Vec<TcpStream>>,
}

/// A TCP proxy on 127.0.0.1 that can fall silent or cut its connections.
pub struct Proxy {
    listener: Listener,
    switches: Arc<Switches>,
}

impl Proxy {
    /// Starts one in front of a port on 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(target_port: u16) -> Result<Self> {
        let switches = Arc::new(Switches::default());
        let shared = Arc::clone(&switches);
        let listener = Listener::start(move |client| {
            let Ok(server) = TcpStream::connect(("127.0.0.1", target_port)) else {
                return;
            };
            let _ = link(&shared, client, server);
        })?;
        Ok(Self { listener, switches })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.address.port()
    }

    /// From now on the server's answers are swallowed: requests arrive, and nobody hears what became of them.
    pub fn swallow_answers(&self) {
        self.switches.deaf.store(true, Ordering::SeqCst);
    }

    /// From now on everything is swallowed, both ways.
    pub fn fall_silent(&self) {
        self.switches.silent.store(true, Ordering::SeqCst);
    }

    /// From now on the server's side stays open when a client dies, as behind a network that falls silent.
    pub fn keep_server_side(&self) {
        self.switches.keeping.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.switches.deaf.store(false, Ordering::SeqCst);
        self.switches.silent.store(false, Ordering::SeqCst);
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        for stream in self
            .switches
            .links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn link(switches: &Arc<Switches>, client: TcpStream, server: TcpStream) -> Result<()> {
    {
        let mut links = switches.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.extend([client.try_clone()?, server.try_clone()?]);
    }
    for (from, to, answers) in [
        (client.try_clone()?, server.try_clone()?, false),
        (server, client, true),
    ] {
        let switches = Arc::clone(switches);
        thread::spawn(move || pump(from, to, &switches, answers));
    }
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, switches: &Switches, answers: bool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let swallowed =
            switches.silent.load(Ordering::SeqCst) || answers && switches.deaf.load(Ordering::SeqCst);
        if !swallowed && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    if switches.keeping.load(Ordering::SeqCst) {
        return;
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// An accept loop in a thread of its own; ends when dropped.
struct Listener {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Listener {
    fn start(mut take: impl FnMut(TcpStream) + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    take(stream);
                }
            }
        });
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the loop up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
