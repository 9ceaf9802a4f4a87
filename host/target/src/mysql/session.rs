use std::net::SocketAddr;

use zeroize::Zeroizing;

use super::connect::{Wire, connect};
use super::packet::Packets;
use super::reply::{Trouble, ask};
use super::settings;
use crate::dial::Allow;
use crate::postgres::{Access, ConnectOptions, RowLimits};
use crate::session::{Answer, Asked, Framed, Protocol};
use crate::statement::{Dialect, Statement};
use crate::{Deadline, Error, Outbound};

/// The protocol of MySQL and MariaDB.
pub struct Text {
    packets: Packets<Wire>,
    dialect: Dialect,
}

impl Protocol for Text {
    const PINS: &'static str = settings::PINS;
    const NAMES: &'static str = "SELECT CURRENT_USER()";
    const NO_TRANSACTIONS: &'static str = "there are no transactions on MySQL and MariaDB: account statements commit by themselves; execute each statement for itself";

    async fn connect(
        outbound: &Outbound,
        rules: &[Allow],
        options: &ConnectOptions,
        deadline: Deadline,
    ) -> Result<(Self, SocketAddr), Error> {
        let connected = connect(outbound, rules, options, deadline).await?;
        let (packets, dialect) = (connected.packets, connected.dialect);
        Ok((Self { packets, dialect }, connected.address))
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn check(statement: &Statement, access: Access) -> Result<(), Error> {
        settings::check(statement, access)
    }

    /// What reads, in a transaction that only reads and is rolled back.
    fn frame(&self, sql: &str, access: Access, deadline: Deadline) -> Framed {
        let mut before = vec![settings::deadlines(self.dialect, deadline)];
        let reads = access == Access::Read;
        before.extend(reads.then(|| "START TRANSACTION READ ONLY".to_owned()));
        Framed {
            before,
            sql: Zeroizing::new(sql.to_owned()),
            after: reads.then_some("ROLLBACK"),
        }
    }

    async fn exchange(&mut self, sql: &str, limits: RowLimits, asked: Asked) -> Answer {
        let done = ask(&mut self.packets, sql, limits).await;
        Answer {
            leaves_session: done.as_ref().err().is_none_or(Trouble::leaves_session),
            result: done.map_err(|trouble| trouble.typed(asked.doing, asked.secret, asked.sent)),
        }
    }

    /// `name@host`, of the account that the server took the session for.
    fn is_of(name: &str, user: &str) -> bool {
        name.rsplit_once('@').is_some_and(|(name, _)| name == user)
    }
}
