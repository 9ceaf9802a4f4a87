use futures_util::future::join_all;
use keywheel_failpoint::{Point, reach};
use keywheel_model::Effect;

use super::Session;
use crate::postgres::rows::{borrowed, parameters};
use crate::statement::Rendered;
use crate::{Deadline, Error};

/// `in_failed_sql_transaction`: what follows the statement that failed is answered so.
const FAILED_BEFORE: &str = "25P02";

impl Session {
    /// Runs statements in one transaction, sent at once and worked off in order; the rows that each touched.
    ///
    /// # Errors
    /// Of the statement that failed: nothing has taken effect then. As [`Session::commit`].
    pub(in crate::postgres) async fn together(
        &mut self,
        statements: &[&Rendered],
        deadline: Deadline,
        commit_by: Deadline,
    ) -> Result<Vec<u64>, Error> {
        self.begin(deadline).await?;
        self.busy = true;
        let client = &self.client;
        let work = join_all(statements.iter().map(|rendered| async {
            let params = parameters(&rendered.params);
            client.execute_typed(&rendered.sql, &borrowed(&params)).await
        }));
        let done = deadline
            .run("waiting for the server's answers", Effect::None, work)
            .await;
        self.busy = false;
        let done = done.map(|done| {
            let failed_before = |error: &tokio_postgres::Error| {
                error.code().is_some_and(|state| state.code() == FAILED_BEFORE)
            };
            let (mut rows, mut failed) = (Vec::with_capacity(done.len()), None);
            for one in done {
                match one {
                    Ok(count) => rows.push(count),
                    Err(error) if failed.as_ref().is_none_or(failed_before) => failed = Some(error),
                    Err(_) => {}
                }
            }
            failed.map_or(Ok(rows), Err)
        });
        match self.settle_in_transaction(done, true, Effect::None) {
            Ok(rows) => {
                reach(Point::SharedBefore);
                self.commit(commit_by).await?;
                reach(Point::SharedAfter);
                Ok(rows)
            }
            Err(error) => {
                if self.is_intact() && self.rollback(deadline).await.is_err() {
                    self.broken = true;
                }
                Err(error)
            }
        }
    }
}
