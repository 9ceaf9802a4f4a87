//! The word with the service manager: `sd_notify(3)`'s protocol, datagrams of lines to the socket that `NOTIFY_SOCKET` names.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells the service manager, where there is one; whatever cannot be told is logged once and stops nothing.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// What the environment of this process says.
    pub fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let microseconds = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok());
        let pid = std::env::var("WATCHDOG_PID").ok();
        let is_ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let connected = connect(name.as_bytes());
        if let Err(error) = &connected {
            tracing::warn!(%error, "the service manager cannot be told anything");
        }
        Self {
            socket: connected.ok(),
            watchdog: microseconds.map(Duration::from_micros).filter(|_| is_ours),
        }
    }

    /// How often it wants to hear that this process lives: half of its limit, as its manual advises.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog
            .map(|limit| limit / 2)
            .filter(|every| !every.is_zero())
    }

    /// It may be used from now on; `status` for people.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its configuration again; followed by [`Self::ready`].
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It takes nothing new from now on.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// It lives.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            tracing::warn!(%error, "the service manager was not told");
        }
    }
}

fn connect(name: &[u8]) -> std::io::Result<UnixDatagram> {
    let address = match name.split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
