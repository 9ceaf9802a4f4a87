//! Where the host is hit: points, and the paths of work in which they lie.

use keywheel_failpoint::Point as Failpoint;

use crate::proxy::Kind;

/// Work that the host is hit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// `rotate` of a credential that is in use.
    Rotate,
    /// `rotate` of one that the vault has never had (`first = "set"`).
    First,
    /// `secret import` of one that is in use.
    Adopt,
    /// `secret rollback` to a version that the target has again.
    Rollback,
    /// The same to one that a run has to put there.
    PutBack,
    /// `rotate` of the administrator that rotates the others.
    Admin,
    /// What `serve` rotates by itself, because it is due.
    Scheduled,
}

impl Path {
    pub(crate) const ALL: [Self; 7] = [
        Self::Rotate,
        Self::First,
        Self::Adopt,
        Self::Rollback,
        Self::PutBack,
        Self::Admin,
        Self::Scheduled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::First => "first",
            Self::Adopt => "adopt",
            Self::Rollback => "rollback",
            Self::PutBack => "put-back",
            Self::Admin => "admin",
            Self::Scheduled => "scheduled",
        }
    }

    /// Whether it changes something on the target.
    pub(crate) fn changes(self) -> bool {
        !matches!(self, Self::Adopt | Self::Rollback)
    }

    /// Whether it is a run that can be taken back. `first = "set"` has nothing to go back to: taken back, it leaves the account without a
    /// password, as its words say.
    fn can_go_back(self) -> bool {
        !matches!(self, Self::Rollback | Self::First)
    }
}

/// What the proxy does at a statement or a login of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// Killed before it is sent.
    Before,
    /// Done by the server; killed before the answer is delivered.
    Withheld,
    /// The answer is delivered; killed some moments later.
    Delivered,
    /// Done by the server; the answer never arrives. Not killed.
    Lost,
    /// Done by the server; the connection is reset. Not killed.
    Reset,
    /// Not sent, and never answered. Not killed.
    Hole,
}

impl Cut {
    const ALL: [Self; 6] = [
        Self::Before,
        Self::Withheld,
        Self::Delivered,
        Self::Lost,
        Self::Reset,
        Self::Hole,
    ];

    /// Whether it is made before the statement is sent.
    pub(crate) fn is_before(self) -> bool {
        matches!(self, Self::Before | Self::Hole)
    }
}

/// Where a host's clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Day {
    /// Tomorrow: for the recovery the clock steps back.
    Ahead,
    /// Yesterday: it jumps forward.
    Behind,
}

/// Where and how the host is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// At an exchange with the server.
    Proxy(Kind, Cut),
    /// The host's test build dies at a place of its own.
    Failpoint(Failpoint),
    /// Works a day ahead or behind, by its clock, and is killed at a random time; the recovery has the right clock.
    Clock(Day),
    /// `SIGKILL` at a random time.
    Random,
    /// `SIGKILL` as soon as the journal has so many changes more.
    Journal,
    /// The server is killed at a random time and started again.
    ServerKilled,
    /// A second host on the same state, at a statement; then `SIGKILL`.
    SecondHost,
    /// `SIGSTOP` at a statement until its deadline has passed, then `SIGCONT`.
    Stopped,
    /// The same at a login: the step that it is for may not change anything any more.
    StoppedAtLogin,
    /// `SIGKILL` at a random time, then `run cancel`.
    Cancelled,
    /// `SIGKILL` at a random time, then `run rollback`.
    TakenBack,
    /// `run cancel` at a random time, while a host serves.
    CancelledAtWork,
    /// `run rollback` at a random time, while a host serves.
    TakenBackAtWork,
    /// Another configuration at a statement; then `SIGKILL`.
    ConfigReplaced,
    /// Another plugin file at a statement; then `SIGKILL`.
    PluginReplaced,
    /// No file may grow beyond a random size.
    FileLimit,
    /// The disk of the state has room for a random number of bytes.
    NoSpace,
    /// `SIGINT` at a random time.
    Interrupted,
    /// Rule P1: a row lock holds the statement back while the host dies behind a network that falls silent.
    RowLock,
}

impl Point {
    pub(crate) fn all() -> Vec<Self> {
        let proxy = [Kind::Change, Kind::Login]
            .into_iter()
            .flat_map(|kind| Cut::ALL.map(|cut| Self::Proxy(kind, cut)));
        let others = [
            Self::Clock(Day::Ahead),
            Self::Clock(Day::Behind),
            Self::Random,
            Self::Journal,
            Self::ServerKilled,
            Self::SecondHost,
            Self::Stopped,
            Self::StoppedAtLogin,
            Self::Cancelled,
            Self::TakenBack,
            Self::CancelledAtWork,
            Self::TakenBackAtWork,
            Self::Interrupted,
            Self::ConfigReplaced,
            Self::PluginReplaced,
            Self::FileLimit,
            Self::NoSpace,
            Self::RowLock,
        ];
        let own = Failpoint::ALL.into_iter().filter(|place| place.is_of_a_run());
        let own = own.map(Self::Failpoint);
        proxy.chain(others).chain(own).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proxy(Kind::Change, Cut::Before) => "change before",
            Self::Proxy(Kind::Change, Cut::Withheld) => "change withheld",
            Self::Proxy(Kind::Change, Cut::Delivered) => "change delivered",
            Self::Proxy(Kind::Change, Cut::Lost) => "change lost",
            Self::Proxy(Kind::Change, Cut::Reset) => "change reset",
            Self::Proxy(Kind::Change, Cut::Hole) => "change hole",
            Self::Proxy(Kind::Login, Cut::Before) => "login before",
            Self::Proxy(Kind::Login, Cut::Withheld) => "login withheld",
            Self::Proxy(Kind::Login, Cut::Delivered) => "login delivered",
            Self::Proxy(Kind::Login, Cut::Lost) => "login lost",
            Self::Proxy(Kind::Login, Cut::Reset) => "login reset",
            Self::Proxy(Kind::Login, Cut::Hole) => "login hole",
            Self::Failpoint(point) => point.name(),
            Self::Clock(Day::Ahead) => "clock ahead",
            Self::Clock(Day::Behind) => "clock behind",
            Self::Random => "random time",
            Self::Journal => "journal write",
            Self::ServerKilled => "server killed",
            Self::SecondHost => "second host",
            Self::Stopped => "stopped",
            Self::StoppedAtLogin => "stopped at a login",
            Self::Cancelled => "run cancel",
            Self::TakenBack => "run rollback",
            Self::CancelledAtWork => "run cancel at work",
            Self::TakenBackAtWork => "run rollback at work",
            Self::Interrupted => "interrupted",
            Self::ConfigReplaced => "configuration replaced",
            Self::PluginReplaced => "plugin replaced",
            Self::FileLimit => "file limit",
            Self::NoSpace => "no space",
            Self::RowLock => "row lock",
        }
    }

    /// Whether it can be met on this path. Which of its own places a host passes, an undisturbed run shows.
    pub(crate) fn lies_on(self, path: Path, has_row_locks: bool) -> bool {
        match self {
            Self::Proxy(Kind::Change, _) | Self::Stopped | Self::ConfigReplaced | Self::PluginReplaced => {
                path.changes()
            }
            Self::RowLock => has_row_locks && matches!(path, Path::Rotate | Path::Admin | Path::Scheduled),
            Self::Cancelled | Self::TakenBack => path.can_go_back(),
            // Beside a command that works nobody else gets at the state.
            Self::CancelledAtWork | Self::TakenBackAtWork => path == Path::Scheduled,
            Self::Proxy(Kind::Login, _)
            | Self::Failpoint(_)
            | Self::Clock(_)
            | Self::Random
            | Self::Journal
            | Self::ServerKilled
            | Self::SecondHost
            | Self::StoppedAtLogin
            | Self::Interrupted
            | Self::FileLimit
            | Self::NoSpace => true,
        }
    }

    /// At which exchange the host is held, if at one.
    pub(crate) fn kind(self, path: Path) -> Option<Kind> {
        match self {
            Self::Proxy(kind, _) => Some(kind),
            Self::Stopped | Self::ConfigReplaced | Self::PluginReplaced => Some(Kind::Change),
            Self::SecondHost if path.changes() => Some(Kind::Change),
            Self::SecondHost | Self::StoppedAtLogin => Some(Kind::Login),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own_and_lies_on_some_path() {
        let names: std::collections::BTreeSet<&str> = Point::all().into_iter().map(Point::name).collect();
        assert_eq!(names.len(), Point::all().len());
        for point in Point::all() {
            assert!(
                Path::ALL.iter().any(|path| point.lies_on(*path, true)),
                "{point:?}"
            );
        }
    }
}
