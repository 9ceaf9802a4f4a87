//! The tick that lets the host interrupt a computing guest. It beats while some guest runs and a little longer, because the next call soon
//! follows and waking a thread costs more than some beats; an idle host does not wake up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How often a running guest can be interrupted.
const TICK: Duration = Duration::from_millis(10);

/// Beats after the last guest.
const IDLE_BEATS: u32 = 100;

#[derive(Default)]
struct State {
    running: usize,
    /// Beats since a guest was seen.
    idle: u32,
    /// Whether the thread waits for a guest.
    parked: bool,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let mut state = self.lock();
        state.running += 1;
        if state.parked {
            self.changed.notify_all();
        }
    }

    fn end(&self) {
        self.lock().running -= 1;
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits for the next beat. False: stop.
    fn next(&self) -> bool {
        let mut state = self.lock();
        state.idle = if state.running > 0 { 0 } else { state.idle + 1 };
        if state.idle > IDLE_BEATS {
            state.parked = true;
            state = self
                .changed
                .wait_while(state, |state| state.running == 0 && !state.stopped)
                .unwrap_or_else(PoisonError::into_inner);
            state.parked = false;
            state.idle = 0;
        }
        let (state, _) = self
            .changed
            .wait_timeout_while(state, TICK, |state| !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }
}

/// A thread that moves the engine's epoch on while guests run. Dropping it ends the thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (engine, beat) = (engine.weak(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("keywheel-tick".into())
            .spawn(move || {
                while beat.next() {
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Keeps the tick beating until it is dropped.
    pub(crate) fn running(&self) -> Running {
        self.shared.begin();
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // It panicked: then there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

/// A guest runs as long as this lives.
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats by hand: `next` is what the thread of a ticker calls.
    #[test]
    fn it_beats_on_after_the_last_guest_and_parks_then_until_the_next() {
        let shared = Arc::<Shared>::default();
        shared.begin();
        assert!(shared.next());
        shared.end();
        let beat = Arc::clone(&shared);
        let beats = std::thread::spawn(move || {
            let mut beats = 0_u32;
            while beat.next() {
                beats += 1;
            }
            beats
        });
        let parked = || shared.lock().parked;
        while !parked() {
            std::thread::sleep(TICK);
        }
        shared.begin();
        while parked() {
            std::thread::sleep(TICK);
        }
        shared.stop();
        assert!(beats.join().unwrap() >= IDLE_BEATS);
    }
}
