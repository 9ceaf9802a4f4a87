use std::sync::Arc;
use std::time::Duration;

use keywheel_manifest::{Capability, ShapeEffect};
use keywheel_model::Effect;
use keywheel_target::Error as TargetError;
use keywheel_target::postgres::{Access, Opening, RowLimits, Rows};
use keywheel_target::statement::{Dialect, Value};
use wasmtime::component::Resource;

use super::SessionFacts;
use super::link::Link;
use super::statement::{Statement, from_target};
use crate::bindings::keywheel::sql::sql;
use crate::error::Error;
use crate::guard::{Begun, Ended, Peer, Permitted};
use crate::handle::Handle;
use crate::secrets::check_media_type;
use crate::state::HostState;

/// A connection that has no session yet.
#[derive(Clone)]
pub(super) struct Later {
    pub(super) opening: Arc<Opening>,
    /// As the guest wanted it.
    pub(super) timeout: Option<Duration>,
}

/// An open connection. Dropping it ends the session, or gives it back; an open transaction is rolled back by the server.
pub struct Connection {
    /// Taken out while a statement runs: if that is cut off, the session is gone with it.
    link: Option<Link>,
    /// From which the session is had once it is needed: a statement that is shared needs none.
    pub(super) later: Option<Later>,
    pub(super) peer: Peer,
    /// Kept with each intent that goes through it.
    pub(super) facts: Option<SessionFacts>,
    dialect: Dialect,
    /// What was done in the open transaction: it takes effect with the commit, or never.
    uncommitted: Vec<Begun>,
}

impl Connection {
    pub(super) fn new(link: Link, peer: Peer, facts: Option<SessionFacts>) -> Self {
        let dialect = link.dialect();
        Self {
            link: Some(link),
            later: None,
            peer,
            facts,
            dialect,
            uncommitted: Vec::new(),
        }
    }

    /// One whose session is opened when it is needed: the server has let this login in before.
    pub(super) fn later(later: Later, peer: Peer, facts: Option<SessionFacts>) -> Self {
        Self {
            link: None,
            later: Some(later),
            peer,
            facts,
            dialect: Dialect::Postgres,
            uncommitted: Vec::new(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }
}

/// A statement that may run, and the session that it runs on.
struct Ready {
    link: Link,
    begun: Begun,
    access: Access,
}

impl HostState {
    async fn take_link(&mut self, connection: &Resource<Connection>) -> Result<Link, Error> {
        if let Some(later) = self.table.get(connection)?.later.clone() {
            let peer = self.table.get(connection)?.peer.clone();
            let link = self.open_now(&later, &peer).await?;
            self.table.get_mut(connection)?.later = None;
            return Ok(link);
        }
        let link = self.table.get_mut(connection)?.link.take();
        link.ok_or_else(|| Error::Host(wasmtime::Error::msg("the connection was lost in an earlier call")))
    }

    fn put_back(&mut self, connection: &Resource<Connection>, link: Link) -> Result<(), Error> {
        self.table.get_mut(connection)?.link = Some(link);
        Ok(())
    }

    /// Checks a statement. One that no shape declares, and that has no secret in it, only reads.
    async fn check(
        &mut self,
        connection: &Resource<Connection>,
        statement: &Resource<Statement>,
    ) -> Result<(Permitted, Access), Error> {
        self.permit_package(Capability::Sql).await?;
        let peer = self.table.get(connection)?.peer.clone();
        let statement = self.table.get(statement)?;
        let (call, secrets) = (statement.call(self), statement.secrets());
        let undeclared =
            secrets.is_empty() && matches!(self.step.manifest.find_shape(&call, &self.step.config), Ok(None));
        let mut permitted = if undeclared {
            self.permit_read_only("sql", &peer).await?
        } else {
            self.permit(&call, &secrets, &peer, true).await?
        };
        let access = if permitted.effect > ShapeEffect::None {
            Access::Write
        } else {
            Access::Read
        };
        permitted.session.clone_from(&self.table.get(connection)?.facts);
        Ok((permitted, access))
    }

    /// Enters a statement that was checked in the journal, and takes the session.
    async fn ready(
        &mut self,
        connection: &Resource<Connection>,
        (permitted, access): (Permitted, Access),
    ) -> Result<Ready, Error> {
        // Before the intent: where no session is to be had, nothing was begun.
        let link = self.take_link(connection).await?;
        let peer = self.table.get(connection)?.peer.clone();
        let begun = self.begin(permitted, &peer).await?;
        Ok(Ready { link, begun, access })
    }

    /// Puts the session back and notes how the statement ended. What a transaction holds is settled by its end.
    async fn settle(
        &mut self,
        connection: &Resource<Connection>,
        ready: Ready,
        error: Option<&TargetError>,
    ) -> Result<(), Error> {
        let Ready { link, begun, access } = ready;
        let held = access == Access::Write && error.is_none() && link.in_transaction();
        self.put_back(connection, link)?;
        if held {
            self.table.get_mut(connection)?.uncommitted.push(begun);
            return Ok(());
        }
        let effect = match error {
            Some(error) => error.effect(),
            None if access == Access::Write => Effect::Applied,
            None => Effect::None,
        };
        self.conclude(
            begun,
            Ended {
                effect,
                login: None,
                code: error.map(|error| error.code().into_owned()),
            },
        )
        .await
    }

    async fn end_transaction(
        &mut self,
        connection: &Resource<Connection>,
        commit: bool,
    ) -> Result<(), Error> {
        let mut link = self.take_link(connection).await?;
        let was_open = link.in_transaction();
        let deadline = self.deadline();
        let ended = if commit {
            link.commit(deadline).await
        } else {
            link.rollback(deadline).await
        };
        let still_open = link.in_transaction() && link.is_usable();
        self.put_back(connection, link)?;
        if was_open && !still_open {
            self.note_transaction(false);
            let effect = match &ended {
                Ok(()) if commit => Effect::Applied,
                Ok(()) => Effect::None,
                Err(error) => error.effect(),
            };
            let code = ended.as_ref().err().map(|error| error.code().into_owned());
            for begun in std::mem::take(&mut self.table.get_mut(connection)?.uncommitted) {
                self.conclude(
                    begun,
                    Ended {
                        effect,
                        login: None,
                        code: code.clone(),
                    },
                )
                .await?;
            }
        }
        match ended {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Scans all of an answer before any of it is shown.
    fn clear_rows(&mut self, rows: &Rows) -> Result<(), Error> {
        let numbers: Vec<String> = rows.rows.iter().flatten().map(number).collect();
        let cells = rows
            .rows
            .iter()
            .flatten()
            .zip(&numbers)
            .map(|(value, number)| match value {
                Value::Text(text) => text.as_bytes(),
                Value::Bytes(bytes) => bytes,
                _ => number.as_bytes(),
            });
        let names = rows.columns.iter().map(String::as_bytes);
        self.clear_cells(names.chain(cells), "the rows of a query")
    }
}

fn number(value: &Value) -> String {
    match value {
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        _ => String::new(),
    }
}

impl sql::HostConnection for HostState {
    async fn dialect(&mut self, connection: Resource<Connection>) -> wasmtime::Result<String> {
        Ok(self.table.get(&connection)?.dialect.as_str().to_owned())
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: Resource<Statement>,
    ) -> Result<u64, Error> {
        let checked = self.check(&connection, &statement).await?;
        if checked.1 == Access::Write
            && self.table.get(&statement)?.quoted().may_share()
            && let Some(later) = self.table.get(&connection)?.later.clone()
        {
            return self
                .execute_shared(&connection, &statement, checked.0, later.opening)
                .await;
        }
        let mut ready = self.ready(&connection, checked).await?;
        let deadline = self.deadline();
        let done = ready
            .link
            .execute(self.table.get(&statement)?.quoted(), ready.access, deadline)
            .await;
        self.settle(&connection, ready, done.as_ref().err()).await?;
        match done {
            Ok(count) => Ok(count),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: Resource<Statement>,
    ) -> Result<sql::Rows, Error> {
        let checked = self.check(&connection, &statement).await?;
        let mut ready = self.ready(&connection, checked).await?;
        let deadline = self.deadline();
        let quoted = self.table.get(&statement)?.quoted();
        let done = ready
            .link
            .query(quoted, ready.access, RowLimits::default(), deadline)
            .await;
        self.settle(&connection, ready, done.as_ref().err()).await?;
        match done {
            Ok(rows) => {
                self.clear_rows(&rows)?;
                let cells = rows
                    .rows
                    .into_iter()
                    .map(|row| row.into_iter().map(from_target).collect())
                    .collect();
                Ok(sql::Rows {
                    columns: rows.columns,
                    rows: cells,
                    truncated: rows.truncated,
                })
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn capture(
        &mut self,
        connection: Resource<Connection>,
        statement: Resource<Statement>,
        column: String,
        media_type: String,
    ) -> Result<Resource<Handle>, Error> {
        check_media_type(&media_type)?;
        let checked = self.check(&connection, &statement).await?;
        let mut ready = self.ready(&connection, checked).await?;
        let deadline = self.deadline();
        let quoted = self.table.get(&statement)?.quoted();
        let done = ready.link.capture(quoted, &column, ready.access, deadline).await;
        self.settle(&connection, ready, done.as_ref().err()).await?;
        match done {
            Ok(value) => {
                let captured = self.capture(&format!("sql:{column}"), value, &media_type).await?;
                self.hand_out(captured)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn begin(&mut self, connection: Resource<Connection>) -> Result<(), Error> {
        self.permit_package(Capability::Sql).await?;
        let mut link = self.take_link(&connection).await?;
        let begun = link.begin(self.deadline()).await;
        self.put_back(&connection, link)?;
        match begun {
            Ok(()) => {
                self.note_transaction(true);
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn commit(&mut self, connection: Resource<Connection>) -> Result<(), Error> {
        self.end_transaction(&connection, true).await
    }

    async fn rollback(&mut self, connection: Resource<Connection>) -> Result<(), Error> {
        self.end_transaction(&connection, false).await
    }

    /// A transaction that is open now is rolled back, and stays noted: it is a failure of the step (rule H13).
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        let Connection {
            link, uncommitted, ..
        } = self.table.delete(connection)?;
        drop(link);
        for begun in uncommitted {
            self.conclude(begun, Ended::with(Effect::None))
                .await
                .map_err(Error::into_trap)?;
        }
        Ok(())
    }
}
