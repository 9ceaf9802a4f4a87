//! `keywheel:core/runtime`: log lines, time, scratch state.

use std::time::Duration;

use keywheel_manifest::SecretRole;
use wasmtime::component::Resource;

use crate::bindings::keywheel::core::runtime;
use crate::error::Error;
use crate::handle::{Handle, Sink};
use crate::port::Wanted;
use crate::report::{LogLevel, LogLine};
use crate::secrets::fill_random;
use crate::state::HostState;

/// Lines that one call may log; further ones are counted and dropped.
pub const MAX_LOG_LINES: usize = 200;
const MAX_LOG_FIELDS: usize = 16;
/// The longest wait in place.
pub const MAX_SLEEP: Duration = Duration::from_secs(5);
const MAX_STATE_BYTES: usize = 64 << 10;

impl From<runtime::Level> for LogLevel {
    fn from(level: runtime::Level) -> Self {
        match level {
            runtime::Level::Trace => Self::Trace,
            runtime::Level::Debug => Self::Debug,
            runtime::Level::Info => Self::Info,
            runtime::Level::Warn => Self::Warn,
            runtime::Level::Error => Self::Error,
        }
    }
}

impl HostState {
    fn log_line(&mut self, level: LogLevel, message: &str, fields: &[(String, String)]) -> Result<(), Error> {
        // Scanned even if it is dropped: that a line was too much is no way around the mask.
        let message = self.guest_text(message, "a log line")?;
        let mut kept = Vec::new();
        let mut left = crate::mask::MAX_TEXT_BYTES.saturating_sub(message.len());
        for (name, value) in fields {
            let (name, value) = (
                self.guest_text(name, "a log field")?,
                self.guest_text(value, "a log field")?,
            );
            if kept.len() < MAX_LOG_FIELDS && name.len() + value.len() <= left {
                left -= name.len() + value.len();
                kept.push((name, value));
            }
        }
        if self.report.log.len() < MAX_LOG_LINES {
            self.report.log.push(LogLine {
                level,
                message,
                fields: kept,
            });
        } else {
            self.report.log_dropped += 1;
        }
        Ok(())
    }

    async fn keep_state(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.check_name(key, "a key")?;
        if value.len() > MAX_STATE_BYTES {
            return Err(Error::limit(
                "state.size",
                format!("a value has at most {MAX_STATE_BYTES} bytes"),
            ));
        }
        self.clear_bytes(value, "state")?;
        Ok(self.step.port.set_state(key, Some(value)).await?)
    }

    pub(crate) async fn keep_secret(&mut self, key: &str, secret: &Handle) -> Result<(), Error> {
        self.check_name(key, "a key")?;
        self.check_labels(secret.labels())?;
        if !secret.labels().sinks.contains(&Sink::State) {
            return Err(self
                .deny("secret.sink", format!("{} may not be kept in state", secret.id()))
                .await);
        }
        let identity = self
            .step
            .port
            .set_secret_state(key, secret.value(), secret.labels())
            .await?;
        secret.mark_durable();
        self.place(secret, identity, [SecretRole::State(key.to_owned())], None);
        Ok(())
    }
}

impl runtime::Host for HostState {
    async fn log(
        &mut self,
        level: runtime::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.log_line(level.into(), &message, &fields)
            .map_err(Error::into_trap)
    }

    async fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.step.clock.now().as_unix_ms())
    }

    async fn sleep(&mut self, duration: u32) -> Result<(), Error> {
        let duration = Duration::from_millis(duration.into());
        if duration > MAX_SLEEP || duration > self.remaining() {
            let message = format!(
                "a step waits in place for at most {} s; end it with `wait` instead",
                MAX_SLEEP.as_secs()
            );
            return Err(Error::limit("runtime.sleep", message));
        }
        self.within(async {
            tokio::time::sleep(duration).await;
            Ok(())
        })
        .await
    }

    async fn random_bytes(&mut self, length: u16) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::from(length)];
        fill_random(&mut bytes).map_err(Error::into_trap)?;
        Ok(bytes)
    }

    async fn get_state(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.check_name(&key, "a key")?;
        let value = self.step.port.get_state(&key).await?;
        if let Some(value) = &value {
            self.clear_bytes(value, "state")?;
        }
        Ok(value)
    }

    async fn set_state(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.keep_state(&key, &value).await
    }

    async fn delete_state(&mut self, key: String) -> Result<(), Error> {
        self.check_name(&key, "a key")?;
        Ok(self.step.port.set_state(&key, None).await?)
    }

    async fn get_secret_state(&mut self, key: String) -> Result<Option<Resource<Handle>>, Error> {
        self.check_name(&key, "a key")?;
        let kept = self
            .use_secret(&SecretRole::State(key.clone()), &Wanted::State(key))
            .await?;
        kept.map(|handle| self.hand_out(handle)).transpose()
    }

    async fn set_secret_state(&mut self, key: String, value: Resource<Handle>) -> Result<(), Error> {
        let secret = self.handle(&value)?;
        self.keep_secret(&key, &secret).await
    }

    async fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.step.cancel.is_cancelled())
    }
}
