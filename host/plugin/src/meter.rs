//! How long a call has computed. An async call is polled: the time inside of polls is its own, the time between them is
//! spent waiting for others. Its own is the guest's, except while the guest is in a host function.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::CallHook;

#[derive(Default)]
struct Spent {
    before: Duration,
    since: Option<Instant>,
    /// What host functions have computed, and what the call had when the one began that it is in.
    host: Duration,
    entered: Option<Duration>,
    /// How many calls into the guest are open: a host function that returns a list calls the guest for room.
    calls: u32,
}

impl Spent {
    fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Of a total.
    fn in_host(&self, total: Duration) -> Duration {
        let open = self
            .entered
            .map_or(Duration::ZERO, |entered| total.saturating_sub(entered));
        self.host + open
    }

    fn host_begins(&mut self) {
        self.entered = Some(self.total());
    }

    fn host_ends(&mut self) {
        self.host = self.in_host(self.total());
        self.entered = None;
    }
}

/// Reads the time that a metered future has computed so far, also from inside of it.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Spent>>);

impl Meter {
    fn with<R>(&self, change: impl FnOnce(&mut Spent) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn spent(&self) -> Duration {
        self.with(|spent| spent.total())
    }

    /// The part of [`Meter::spent`] in which no host function was at work: the instance made, the guest's own code.
    pub(crate) fn spent_in_guest(&self) -> Duration {
        self.with(|spent| {
            let total = spent.total();
            total.saturating_sub(spent.in_host(total))
        })
    }

    /// Notes that the guest calls the host or the host the guest, or that one of them goes on.
    pub(crate) fn crossed(&self, hook: CallHook) {
        self.with(|spent| match hook {
            CallHook::CallingHost => spent.host_begins(),
            CallHook::ReturningFromHost => spent.host_ends(),
            CallHook::CallingWasm => {
                spent.host_ends();
                spent.calls += 1;
            }
            CallHook::ReturningFromWasm => {
                spent.calls = spent.calls.saturating_sub(1);
                if spent.calls > 0 {
                    spent.host_begins();
                }
            }
        });
    }

    /// Runs a future under this meter.
    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| self.poll(future.as_mut(), context)).await
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.with(|spent| spent.since = Some(Instant::now()));
        let result = future.poll(context);
        self.with(|spent| {
            let since = spent.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            spent.before += since;
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_costs_nothing_and_computing_does() {
        let meter = Meter::default();
        meter.run(tokio::time::sleep(Duration::from_millis(80))).await;
        assert!(meter.spent() < Duration::from_millis(80), "{:?}", meter.spent());

        let inside = meter
            .run(async {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
                meter.spent()
            })
            .await;
        assert!(inside >= Duration::from_millis(20), "{inside:?}");
        assert!(meter.spent() >= inside);
    }

    #[tokio::test]
    async fn what_a_host_function_computes_is_not_the_guests() {
        const LONG: Duration = Duration::from_millis(20);
        let meter = Meter::default();
        meter
            .run(async {
                meter.crossed(CallHook::CallingWasm);
                std::thread::sleep(LONG);
                meter.crossed(CallHook::CallingHost);
                let before = meter.spent_in_guest();
                std::thread::sleep(LONG);
                assert_eq!(meter.spent_in_guest(), before, "nor while it is under way");
                // It asks the guest for room, which asks for more memory.
                for hook in [
                    CallHook::CallingWasm,
                    CallHook::CallingHost,
                    CallHook::ReturningFromHost,
                ] {
                    meter.crossed(hook);
                }
                std::thread::sleep(LONG);
                meter.crossed(CallHook::ReturningFromWasm);
                std::thread::sleep(LONG);
                meter.crossed(CallHook::ReturningFromHost);
                meter.crossed(CallHook::ReturningFromWasm);
                std::thread::sleep(LONG);
            })
            .await;
        let (all, guest) = (meter.spent(), meter.spent_in_guest());
        assert!(guest >= 3 * LONG, "{guest:?}");
        assert!(all >= guest + 2 * LONG, "{all:?}, {guest:?}");
    }
}
