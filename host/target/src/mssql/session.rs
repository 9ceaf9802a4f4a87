use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::connect::{Wire, connect};
use super::failure::most_telling;
use super::login::wide;
use super::packet::{BATCH, Packets};
use super::reply::{Trouble, read};
use super::settings;
use crate::dial::Allow;
use crate::postgres::{Access, ConnectOptions, RowLimits, Rows};
use crate::session::{Answer, Asked, Framed, Protocol};
use crate::statement::{Dialect, Statement};
use crate::{Deadline, Error, Outbound};

/// The tabular data stream. Without a database in the options a login is in its own.
pub struct Tds {
    packets: Packets<Wire>,
    /// The last answer left a transaction open, which ends with the session.
    is_open: bool,
}

impl Tds {
    /// One batch and its answer.
    async fn ask(&mut self, sql: &str, limits: RowLimits) -> Result<(u64, Rows), Trouble> {
        // Of no transaction, one request at a time.
        const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let text = wide(sql);
        let mut message = Zeroizing::new(Vec::with_capacity(HEADERS.len() + text.len()));
        message.extend(HEADERS);
        message.extend_from_slice(&text);
        self.packets.write(BATCH, &message).await?;
        let answer = read(&self.packets.read().await?, limits)?;
        self.is_open = answer.in_transaction;
        match most_telling(answer.errors) {
            Some(error) => Err(Trouble::Reported(error)),
            None => Ok((answer.count, answer.rows)),
        }
    }
}

impl Protocol for Tds {
    const PINS: &'static str = settings::PINS;
    const NAMES: &'static str = "SELECT SUSER_SNAME(), USER_NAME()";
    const NO_TRANSACTIONS: &'static str =
        "there are no transactions on SQL Server here: execute each statement for itself";

    async fn connect(
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        deadline: Deadline,
    ) -> Result<(Self, SocketAddr), Error> {
        let (packets, address) = connect(outbound, rules, options, deadline).await?;
        let is_open = false;
        Ok((Self { packets, is_open }, address))
    }

    fn dialect(&self) -> Dialect {
        Dialect::MsSql
    }

    fn check(statement: &Statement, access: Access) -> Result<(), Error> {
        settings::check(statement, access)
    }

    /// All of it is one batch.
    fn frame(&self, sql: &str, access: Access, deadline: Deadline) -> Framed {
        Framed {
            before: Vec::new(),
            sql: settings::batch(sql, access, deadline),
            after: None,
        }
    }

    async fn exchange(&mut self, sql: &str, limits: RowLimits, asked: Asked) -> Answer {
        let done = self.ask(sql, limits).await;
        let leaves_session = done.as_ref().err().is_none_or(Trouble::leaves_session);
        Answer {
            leaves_session: leaves_session && !self.is_open,
            result: done.map_err(|trouble| trouble.typed(asked.doing, asked.secret, asked.sent)),
        }
    }

    /// A user of a database has no login: its own name is the user's. `name@server` is how Azure's clients say where they want to go.
    fn is_of(name: &str, user: &str) -> bool {
        let (name, user) = (name.to_lowercase(), user.to_lowercase());
        name == user || user.rsplit_once('@').is_some_and(|(own, _)| own == name)
    }
}
