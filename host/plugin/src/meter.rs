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
    /// What host functions have computed, and what the call had when it entered the one that it is in.
    host: Duration,
    entered: Option<Duration>,
}

impl Spent {
    fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
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
            let current = spent
                .entered
                .map_or(Duration::ZERO, |entered| total.saturating_sub(entered));
            total.saturating_sub(spent.host + current)
        })
    }

    /// Notes that the guest calls the host, or goes on.
    pub(crate) fn crossed(&self, hook: CallHook) {
        self.with(|spent| match hook {
            CallHook::CallingHost => spent.entered = Some(spent.total()),
            CallHook::ReturningFromHost => {
                if let Some(entered) = spent.entered.take() {
                    spent.host += spent.total().saturating_sub(entered);
                }
            }
            CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
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
        let meter = Meter::default();
        meter
            .run(async {
                meter.crossed(CallHook::CallingHost);
                let before = meter.spent_in_guest();
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!(meter.spent_in_guest(), before, "nor while it is under way");
                meter.crossed(CallHook::ReturningFromHost);
                std::thread::sleep(Duration::from_millis(5));
            })
            .await;
        let (all, guest) = (meter.spent(), meter.spent_in_guest());
        assert!(guest >= Duration::from_millis(5), "{guest:?}");
        assert!(all >= guest + Duration::from_millis(20), "{all:?}, {guest:?}");
    }
}
