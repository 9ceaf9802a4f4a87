//! What the running host says by itself: over HTTP, and in notices, to its log and to a program.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keywheel_e2e::{Host, Trace, until};

use crate::scene::PATIENCE;

/// The paths that are asked for.
const PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];
const PAUSE: Duration = Duration::from_millis(50);

/// Lines of the configuration with which the host says all of it. The program writes each of its own arguments, its environment and the notice to a
/// file beside the host.
pub(crate) fn configuration(host: &Host, address: SocketAddr, argument: &str) -> String {
    let sink = host.outside("sink");
    let write = |from: &str, to: &str| format!("cat {from} >> '{}'\n", host.outside(to).display());
    let script = write("/proc/$$/cmdline", "told.arguments")
        + &write("/proc/$$/environ", "told.environment")
        + &write("-", "told.notices");
    fs::write(&sink, script).unwrap();
    let about = "about = [\"attention\", \"events\"]";
    format!(
        "[serve]\nhttp = \"{address}\"\nname_secrets = true\n\n\
         [[notify]]\nname = \"log\"\nkind = \"log\"\n{about}\n\n\
         [[notify]]\nname = \"program\"\nkind = \"command\"\n{about}\ncommand = [\"/bin/sh\", \"{}\", '{argument}']\n",
        sink.display()
    )
}

/// The notices that the program got up to now, each a line.
pub(crate) fn told(host: &Host) -> String {
    fs::read_to_string(host.outside("told.notices")).unwrap_or_default()
}

/// One that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Asks for every path again and again, on a thread of its own.
pub(crate) struct Scraper {
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    thread: JoinHandle<Vec<Trace>>,
}

impl Scraper {
    /// Of somebody who listens.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&rounds));
        let thread = thread::spawn(move || {
            let mut answers = PATHS.map(|path| Trace::new(format!("answers of {path}"), []));
            while !ends.load(Ordering::Relaxed) {
                for (path, answer) in PATHS.iter().zip(&mut answers) {
                    answer.bytes.extend(ask(address, path));
                }
                counts.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            answers.into()
        });
        Self { over, rounds, thread }
    }

    /// Waits until every path was asked for once more, from the beginning.
    pub(crate) fn once_more(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        until("two rounds more", || {
            self.thread.is_finished() || self.rounds.load(Ordering::Relaxed) > before + 1
        });
    }

    /// All the answers.
    pub(crate) fn end(self) -> Vec<Trace> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The whole answer, with its head.
fn ask(address: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
