use std::time::Duration;

use keywheel_model::Effect;
use tokio_postgres::types::{ToSql, Type};

use super::Session;
use crate::postgres::settings;
use crate::{Deadline, Error};

impl Session {
    /// Ends the other sessions that carry an application name (those of a dead host, before its run is taken over: rule P1), and waits
    /// until they are gone. How many there were.
    ///
    /// # Errors
    /// [`Error::Sql`] when the role may not; [`Error::Timeout`] when one of them does not end.
    pub async fn end_sessions(&mut self, application_name: &str, deadline: Deadline) -> Result<u64, Error> {
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()";
        const PAUSE: Duration = Duration::from_millis(20);
        settings::check_application_name(application_name)?;
        self.usable()?;
        self.busy = true;
        let mut first = None;
        let ended = loop {
            let params: [(&(dyn ToSql + Sync), Type); 1] = [(&application_name, Type::TEXT)];
            let found = deadline
                .run(
                    "ending old sessions",
                    Effect::Maybe,
                    self.client.query_typed(END, &params),
                )
                .await;
            let found = match self.settle(found, false, Effect::Maybe) {
                Ok(rows) => rows.len() as u64,
                Err(error) => break Err(error),
            };
            let before = *first.get_or_insert(found);
            if found == 0 {
                break Ok(before);
            }
            if deadline.remaining() < PAUSE {
                break Err(Error::Timeout {
                    doing: "ending old sessions",
                    effect: Effect::Maybe,
                });
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.busy = false;
        ended
    }
}
