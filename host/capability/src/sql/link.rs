//! The session behind a connection, whatever server it is with.

use keywheel_model::SecretBytes;
use keywheel_target::postgres::{Access, Pooled, RowLimits, Rows};
use keywheel_target::statement::{Dialect, Statement};
use keywheel_target::{Deadline, Error, mssql, mysql, postgres};

/// What the guest calls a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    Postgres,
    /// Both families that speak its protocol: which one it is the server says.
    MySql,
    MsSql,
}

impl Driver {
    pub(super) fn of(word: &str) -> Option<Self> {
        [Self::Postgres, Self::MySql, Self::MsSql]
            .into_iter()
            .find(|driver| driver.as_str() == word)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MsSql => "mssql",
        }
    }

    /// Where none is named: PostgreSQL's clients take the one with the user's name; with SQL Server it is the login's own; with the others none.
    pub(super) fn default_database(self, user: &str) -> String {
        match self {
            Self::Postgres => user.to_owned(),
            Self::MySql | Self::MsSql => String::new(),
        }
    }
}

/// A session of this call alone, or one that the host lends.
pub(super) enum Link {
    Own(Box<postgres::Session>),
    Lent(Box<Pooled>),
    MySql(Box<mysql::Session>),
    MsSql(Box<mssql::Session>),
}

/// The same call of whichever session it is.
macro_rules! on {
    ($link:expr, $session:ident => $call:expr) => {
        match $link {
            Link::Own($session) => $call,
            Link::Lent($session) => $call,
            Link::MySql($session) => $call,
            Link::MsSql($session) => $call,
        }
    };
}

impl Link {
    pub(super) fn dialect(&self) -> Dialect {
        on!(self, session => session.dialect())
    }

    pub(super) fn in_transaction(&self) -> bool {
        on!(self, session => session.in_transaction())
    }

    pub(super) fn is_usable(&self) -> bool {
        on!(self, session => session.is_usable())
    }

    pub(super) async fn execute(
        &mut self,
        statement: &Statement,
        access: Access,
        deadline: Deadline,
    ) -> Result<u64, Error> {
        on!(self, session => session.execute(statement, access, deadline).await)
    }

    pub(super) async fn query(
        &mut self,
        statement: &Statement,
        access: Access,
        limits: RowLimits,
        deadline: Deadline,
    ) -> Result<Rows, Error> {
        on!(self, session => session.query(statement, access, limits, deadline).await)
    }

    pub(super) async fn capture(
        &mut self,
        statement: &Statement,
        column: &str,
        access: Access,
        deadline: Deadline,
    ) -> Result<SecretBytes, Error> {
        on!(self, session => session.capture(statement, column, access, deadline).await)
    }

    pub(super) async fn begin(&mut self, deadline: Deadline) -> Result<(), Error> {
        on!(self, session => session.begin(deadline).await)
    }

    pub(super) async fn commit(&mut self, deadline: Deadline) -> Result<(), Error> {
        on!(self, session => session.commit(deadline).await)
    }

    pub(super) async fn rollback(&mut self, deadline: Deadline) -> Result<(), Error> {
        on!(self, session => session.rollback(deadline).await)
    }
}
