//! How long processes have computed, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel tells hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Where, after a process's name, the fields of `/proc/PID/stat` stand: the parent, and the times of the process and of its children that have ended.
const PARENT: usize = 1;
const OWN: usize = 11;
const ENDED: usize = 13;

/// The processor time of a process's own threads.
pub(crate) fn of(process: u32) -> Result<Duration> {
    fields(process)?.span(OWN)
}

/// The processor time of a process and of all its children, also of those that have ended.
pub(crate) fn with_children(process: u32) -> Result<Duration> {
    let stat = fields(process)?;
    let mut used = stat.span(OWN)? + stat.span(ENDED)?;
    for entry in fs::read_dir("/proc")? {
        let Ok(child) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // One that ends meanwhile is counted with its parent the next time.
        if let Ok(stat) = fields(child)
            && stat.number(PARENT)? == process
        {
            used += stat.span(OWN)?;
        }
    }
    Ok(used)
}

struct Stat(String);

fn fields(process: u32) -> Result<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program comes before, in brackets, and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a process without a name")?;
    Ok(Stat(fields.to_owned()))
}

impl Stat {
    fn number(&self, at: usize) -> Result<u32> {
        let field = self.0.split_whitespace().nth(at);
        Ok(field.context("a process without times")?.parse()?)
    }

    /// Of user and kernel together.
    fn span(&self, at: usize) -> Result<Duration> {
        Ok(TICK * (self.number(at)? + self.number(at + 1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_computes_is_seen_to() {
        let before = of(std::process::id()).expect("this process");
        let begun = std::time::Instant::now();
        while of(std::process::id()).expect("this process") == before {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "a minute without a tick"
            );
        }
        let all = with_children(std::process::id()).expect("this process");
        assert!(all > before);
    }
}
