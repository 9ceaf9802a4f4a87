use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::command;
use crate::once::made_once;

/// The messages of OpenTelemetry, as their own project publishes them for Python.
const MESSAGES: &str = "opentelemetry-proto==1.27.0";

/// A collector of traces on 127.0.0.1 that keeps what it is sent: other people's HTTP server, and other people's reading of the messages.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Collector {
    /// Starts one.
    ///
    /// # Errors
    /// Python or the messages are not to be had; it does not come up.
    pub fn start(port: u16) -> Result<Self> {
        let python =
            python().context("Python 3 with `venv` is needed, and its package index within reach")?;
        let folder = tempfile::Builder::new()
            .prefix("kw-collector-")
            .tempdir_in("/tmp")?;
        let script = folder.path().join("collector.py");
        fs::write(&script, include_str!("collector.py"))?;
        for name in ["raw", "spans"] {
            fs::write(folder.path().join(name), "")?;
        }
        let child = Command::new(python)
            .arg(&script)
            .arg(port.to_string())
            .arg(folder.path())
            .stdin(Stdio::null())
            .spawn()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut collector = Self {
            child,
            address,
            folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(ended) = collector.child.try_wait()? {
                bail!("the collector has ended: {ended}");
            }
            if begun.elapsed() > Duration::from_mins(1) {
                bail!("the collector does not listen");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(collector)
    }

    /// Where it listens, for the configuration of a host.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that it has got up to now.
    ///
    /// # Errors
    /// What it keeps cannot be read.
    pub fn spans(&self) -> Result<Vec<Value>> {
        let lines = fs::read_to_string(self.folder.path().join("spans"))?;
        // The last line may still be written.
        let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// All bytes that it has got up to now, heads included.
    ///
    /// # Errors
    /// What it keeps cannot be read.
    pub fn received(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.path().join("raw"))?)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that knows the messages.
fn python() -> Result<PathBuf> {
    let whole = made_once("python-opentelemetry", |whole| {
        let python = whole.join("bin/python3");
        command::run(Command::new("python3").args(["-m", "venv"]).arg(whole))?;
        command::run(Command::new(python).args(["-m", "pip", "install", "--quiet", MESSAGES]))?;
        Ok(())
    })?;
    Ok(whole.join("bin/python3"))
}
