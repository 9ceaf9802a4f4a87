//! Sizes, and the memory of a command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::table::Row;

/// Of the built binary, the plugins, and `keywheel status` on a fresh host.
pub(crate) fn run(binary: &Path, plugins: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![Row::new("size of the binary `keywheel`", kilobytes(binary)?)];
    let mut files: Vec<_> = std::fs::read_dir(plugins)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "wasm"))
        .collect();
    files.sort();
    for file in &files {
        let name = file.file_name().unwrap_or_default().display();
        rows.push(Row::new(format!("size of {name}"), kilobytes(file)?));
    }
    let folder = tempfile::tempdir()?;
    let host = folder.path().join("host");
    let recovery = folder.path().join("recovery");
    let made = Command::new(binary)
        .arg("init")
        .arg(&host)
        .arg("--recovery-to")
        .arg(recovery)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(made.success(), "`keywheel init` failed");
    for file in &files {
        std::fs::copy(
            file,
            host.join("plugins").join(file.file_name().unwrap_or_default()),
        )?;
    }
    // The first one compiles the plugins.
    peak(binary, &host)?;
    rows.push(Row::new(
        format!(
            "most memory of `keywheel status` with {} plugins, compiled before",
            files.len()
        ),
        peak(binary, &host)?,
    ));
    Ok(rows)
}

fn kilobytes(file: &Path) -> Result<String> {
    let length = file
        .metadata()
        .with_context(|| format!("{} is missing", file.display()))?
        .len();
    Ok(format!("{} KB", length / 1024))
}

/// The kernel's own high-water mark, looked at again and again while the command lives.
fn peak(binary: &Path, host: &Path) -> Result<String> {
    let mut child = Command::new(binary)
        .arg("status")
        .current_dir(host)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut highest = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let mark = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
        highest = highest.max(mark.unwrap_or(0));
        std::thread::sleep(Duration::from_micros(500));
    };
    // 10: something needs attention; here that nobody has pinned these plugins.
    ensure!(
        matches!(ended.code(), Some(0 | 10)) && highest > 0,
        "`keywheel status` ended with {ended}"
    );
    Ok(format!("{} MB", highest / 1024))
}
