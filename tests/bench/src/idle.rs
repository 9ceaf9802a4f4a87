//! A host that has nothing to do: its memory and its processor time.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use rustix::process::{Pid, Signal, kill_process};

use crate::table::Row;
use crate::{Scale, processor};

const PLUGINS: usize = 10;

/// After its start it compiles and opens: that is over then.
const SETTLES: Duration = Duration::from_secs(20);

/// Memory and processor time of `keywheel serve` with ten plugins and no rotation that is due.
pub(crate) fn run(binary: &Path, plugin: &Path, scale: Scale) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let host = folder.path().join("host");
    let recovery = folder.path().join("recovery");
    let words = ["init", &text(&host)?, "--recovery-to", &text(&recovery)?];
    command(binary, folder.path(), &words)?;
    let packed = fs::read(plugin)?;
    for number in 0..PLUGINS {
        let name = format!("idle{number}");
        fs::write(
            host.join(format!("plugins/{name}.wasm")),
            renamed(&packed, &name)?,
        )?;
        command(
            binary,
            &host,
            &["plugin", "add", &name, "--yes", "--host", "127.0.0.1:1 tls"],
        )?;
    }
    let mut serving = Serving::start(binary, &host)?;
    thread::sleep(SETTLES);
    let (before, began) = (serving.used()?, Instant::now());
    thread::sleep(Duration::from_mins(1) * scale.minutes);
    let share = serving.used()?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let resident = serving.status("VmRSS:")? / 1024;
    serving.ends()?;
    Ok(vec![
        Row::new(
            format!("idle `keywheel serve` with {PLUGINS} plugins: resident memory"),
            format!("{resident} MB"),
        )
        .target("<= 60 MB", resident <= 60),
        Row::new(
            format!("  and processor time over {} min", scale.minutes),
            format!("{share:.2} % of one"),
        )
        .target("~ 0 %", share < 0.5),
    ])
}

const MANIFEST: &str = include_str!("../../../plugins/postgres/manifest.toml");
const SCHEMA: &str = include_str!("../../../plugins/postgres/schema.json");

/// The same component by another name.
fn renamed(packed: &[u8], name: &str) -> Result<Vec<u8>> {
    // Its manifest is the last section: an id, a length, a name with its length, the content.
    let body = 1 + keywheel_manifest::SECTION.len() + keywheel_manifest::read(packed)?.to_canonical().len();
    let length = (1..=5).find(|bytes| body >> (7 * bytes) == 0).unwrap_or(5);
    let bare = &packed[..packed.len().saturating_sub(1 + length + body)];
    let manifest = MANIFEST.replacen("name = \"postgres\"", &format!("name = \"{name}\""), 1);
    let manifest = keywheel_manifest::Manifest::from_toml(&manifest, SCHEMA)?;
    Ok(keywheel_manifest::pack(bare, &manifest)?)
}

pub(crate) fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}

pub(crate) fn command(binary: &Path, folder: &Path, words: &[&str]) -> Result<()> {
    let done = Command::new(binary).args(words).current_dir(folder).output()?;
    if !done.status.success() {
        bail!(
            "`keywheel {}`: {}",
            words.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

/// A host that runs; killed where something fails.
pub(crate) struct Serving(Child);

impl Serving {
    pub(crate) fn start(binary: &Path, host: &Path) -> Result<Self> {
        Self::start_by(Command::new(binary), host)
    }

    /// By a command that is only the program and what is in its environment.
    pub(crate) fn start_by(mut serve: Command, host: &Path) -> Result<Self> {
        serve.arg("serve").current_dir(host);
        serve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(serve.spawn()?))
    }

    /// A figure of the kernel's, in KiB.
    pub(crate) fn status(&mut self, name: &str) -> Result<u64> {
        ensure!(self.0.try_wait()?.is_none(), "`keywheel serve` has ended");
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.with_context(|| format!("no `{name}` of the process"))
    }

    /// The time that all its threads have computed.
    fn used(&mut self) -> Result<Duration> {
        ensure!(self.0.try_wait()?.is_none(), "`keywheel serve` has ended");
        processor::of(self.0.id())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// As a service manager ends it.
    pub(crate) fn ends_well(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let ended = self.0.wait()?;
        ensure!(ended.success(), "`keywheel serve` ended with {ended}");
        Ok(())
    }

    pub(crate) fn ends(mut self) -> Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "`keywheel serve` has ended");
        Ok(self.0.kill()?)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
