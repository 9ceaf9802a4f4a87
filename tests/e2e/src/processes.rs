//! What can be seen of a process and its children while they run: arguments, environment, and what lies in the folder for temporary files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::traces::Trace;

const PAUSE: Duration = Duration::from_millis(5);
/// How long a process may take to have its arguments.
const BEGINS: Duration = Duration::from_secs(1);

/// Looks at processes again and again, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Processes {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    /// Where the watched processes keep temporary files.
    temporary: PathBuf,
    /// Those that run, with the command that each was started by.
    running: Mutex<Vec<(u32, String)>>,
    /// By place, whatever was seen there.
    places: Mutex<BTreeMap<String, BTreeSet<Vec<u8>>>>,
    over: AtomicBool,
}

impl Processes {
    pub(crate) fn watch(temporary: PathBuf) -> Self {
        let seen = Arc::new(Seen {
            temporary,
            running: Mutex::default(),
            places: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let look = {
            let seen = Arc::clone(&seen);
            move || {
                while !seen.over.load(Ordering::Relaxed) {
                    seen.look();
                    thread::sleep(PAUSE);
                }
            }
        };
        Self {
            seen,
            thread: Some(thread::spawn(look)),
        }
    }

    /// A process that was just started. It is looked at once before this returns, so that none is over too soon.
    pub(crate) fn add(&self, process: u32, command: &str) {
        let begun = Instant::now();
        let has_arguments =
            || fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|bytes| !bytes.is_empty());
        while self.seen.look_at(process, command).is_some() && !has_arguments() && begun.elapsed() < BEGINS {
            thread::sleep(Duration::from_millis(1));
        }
        let mut running = self.seen.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.push((process, command.to_owned()));
    }

    /// Everything that was seen.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        let places = self.seen.places.lock().unwrap_or_else(PoisonError::into_inner);
        let traces = places.iter().flat_map(|(place, seen)| {
            let trace = |bytes: &Vec<u8>| Trace::new(place.clone(), bytes.clone());
            seen.iter().map(trace)
        });
        traces.collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn look(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let over: Vec<u32> = running
            .iter()
            .filter_map(|(process, command)| self.look_at(*process, command).is_none().then_some(*process))
            .collect();
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(process, _)| !over.contains(process));
        for entry in fs::read_dir(&self.temporary).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            self.keep(
                format!("temporary file {name} while it was there"),
                fs::read(entry.path()).unwrap_or_default(),
            );
        }
    }

    /// At a process and those that it has started. None: it is over.
    fn look_at(&self, process: u32, command: &str) -> Option<()> {
        let of = |process: u32, file: &str| fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
        // The state stands behind the name, which is in parentheses. Arguments say nothing of it: for a moment, while it begins, there are none.
        let stat = of(process, "stat");
        let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
        if matches!(stat.get(name_ends + 2), None | Some(b'Z' | b'X')) {
            return None;
        }
        let mut processes = vec![process];
        while let Some(process) = processes.pop() {
            self.keep(format!("arguments of `{command}`"), of(process, "cmdline"));
            // As soon as the host has seen to it, closed to everybody but root: then there is nothing to be seen.
            self.keep(format!("environment of `{command}`"), of(process, "environ"));
            let tasks = fs::read_dir(format!("/proc/{process}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                processes.extend(
                    children
                        .split_whitespace()
                        .filter_map(|id| id.parse::<u32>().ok()),
                );
            }
        }
        Some(())
    }

    fn keep(&self, place: String, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(place).or_default().insert(bytes);
    }
}
