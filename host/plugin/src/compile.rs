//! Compiling off the executor, a bounded number at a time and for a bounded time. A compiler cannot be stopped: one that
//! takes too long keeps its place until it ends by itself, so that hostile files can never occupy more than these places.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;
use crate::source::Source;

/// How many components are compiled at the same time; the compiler itself uses all processors for one.
const PLACES: usize = 2;
/// Deeply nested code recurses in the compiler.
const STACK_BYTES: usize = 16 << 20;

#[derive(Default)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

struct Place(Arc<Places>);

impl Places {
    fn take(self: &Arc<Self>, within: Duration) -> Option<Place> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, waited) = self
            .freed
            .wait_timeout_while(taken, within, |taken| *taken >= PLACES)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *taken += 1;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

#[derive(Default)]
pub(crate) struct Compiler(Arc<Places>);

impl Compiler {
    /// Compiles the bytes of a source. Blocks for at most `limit`.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        source: &Source,
        limit: Duration,
    ) -> Result<Component, Error> {
        let timeout = || Error::CompileTimeout {
            path: source.path.clone(),
            limit,
        };
        let until = Instant::now() + limit;
        let place = self.0.take(limit).ok_or_else(timeout)?;
        let (send, done) = mpsc::sync_channel(1);
        let (engine, bytes) = (engine.clone(), Arc::clone(&source.bytes));
        let work = move || {
            let _place = place;
            // Nobody waits any more: then the result is not wanted either.
            let _ = send.send(Component::from_binary(&engine, &bytes));
        };
        std::thread::Builder::new()
            .name("keywheel-compile".into())
            .stack_size(STACK_BYTES)
            .spawn(work)
            .map_err(Error::Thread)?;
        match done.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(compiled) => compiled.map_err(|e| Error::Compile {
                path: source.path.clone(),
                source: e,
            }),
            Err(RecvTimeoutError::Timeout) => Err(timeout()),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Compile {
                path: source.path.clone(),
                source: wasmtime::Error::msg("the compiler stopped"),
            }),
        }
    }
}
