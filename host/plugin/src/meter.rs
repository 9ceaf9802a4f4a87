//! How long a guest has computed. An async call is polled: the time inside of polls is its own, the time between them is
//! spent waiting for the host.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Spent {
    before: Duration,
    since: Option<Instant>,
}

/// Reads the time that a metered future has computed so far, also from inside of it.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<Spent>>);

impl Meter {
    fn with<R>(&self, change: impl FnOnce(&mut Spent) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn spent(&self) -> Duration {
        self.with(|spent| spent.before + spent.since.map_or(Duration::ZERO, |since| since.elapsed()))
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
}
