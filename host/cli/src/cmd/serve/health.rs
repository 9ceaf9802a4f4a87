//! How the running host is: for the service manager's watchdog, and for whoever asks by HTTP.

use std::time::Duration;

use async_trait::async_trait;
use keywheel_engine::{Engine, MEDIA_TYPE, Stop};
use keywheel_server::Answers;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::time;

/// The keeper looks for work every half minute at least; one that has not for so long does not do it any more.
const LOOKS_WITHIN: Duration = Duration::from_mins(2);

/// Whoever asks for metrics waits no longer.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Health {
    engine: watch::Receiver<Engine>,
    stop: Stop,
    started: Instant,
}

impl Health {
    pub(super) fn new(engine: watch::Receiver<Engine>, stop: Stop) -> Self {
        Self {
            engine,
            stop,
            started: Instant::now(),
        }
    }

    fn engine(&self) -> Engine {
        self.engine.borrow().clone()
    }
}

#[async_trait]
impl Answers for Health {
    fn alive(&self) -> Result<String, String> {
        let looked = self.engine().metrics().looked_ago();
        let ago = looked.unwrap_or_else(|| self.started.elapsed());
        if ago < LOOKS_WITHIN || self.stop.is_requested() {
            Ok("ok".to_owned())
        } else {
            Err(format!(
                "the keeper has not looked for work for {} s",
                ago.as_secs()
            ))
        }
    }

    fn ready(&self) -> Result<String, String> {
        self.alive()?;
        if self.stop.is_requested() {
            return Err("it is stopping".to_owned());
        }
        if self.engine().vault().is_sealed() {
            return Err(
                "the vault is sealed, and nothing is rotated before `keywheel vault unseal`".to_owned(),
            );
        }
        if let Some(unwritable) = self.engine().unwritable() {
            return Err(format!(
                "the state cannot be written since {}, and nothing is begun: {}",
                time::show(unwritable.since),
                unwritable.words
            ));
        }
        if let Some(code) = self.engine().unheard() {
            return Err(format!(
                "its socket is gone and cannot be made again ({code}): no command reaches it"
            ));
        }
        Ok("ok".to_owned())
    }

    async fn metrics(&self) -> Result<(String, &'static str), String> {
        let engine = self.engine();
        let counted = tokio::time::timeout(COUNTED_WITHIN, engine.snapshot()).await;
        let snapshot = counted
            .map_err(|_| "what there is was not counted in time".to_owned())?
            // Codes are made of words of this host's own.
            .map_err(|error| format!("what there is cannot be counted ({})", error.code()))?;
        let text = engine.metrics().text(&snapshot);
        Ok((text.map_err(|_| "no text could be made".to_owned())?, MEDIA_TYPE))
    }
}
