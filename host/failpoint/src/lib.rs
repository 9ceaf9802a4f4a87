//! Named places of the host at which a test build dies on demand, as by `kill -9`. In every other build [`reach`] does nothing.
//!
//! `FAILPOINTS="save-after=2*off->return"` (the crate `fail`'s own words) lets the third time count. With `KEYWHEEL_FAILPOINT_TRACE=FILE` each place
//! that is reached is a line of that file, so that a harness knows which there are on a way, and how often.

#![forbid(unsafe_code)]

/// A place. Every other crash point lies between two of these, or outside of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Before a run and its first state are written.
    BeginBefore,
    /// They are durable.
    BeginAfter,
    /// Before a new state of a run is written.
    SaveBefore,
    /// It is durable; its effect has not begun.
    SaveAfter,
    /// Before an effect of a run: its state is as durable as it must be, its fence was checked.
    EffectBefore,
    /// It was performed, and nothing of its outcome is written.
    EffectAfter,
    /// Before the intent of a call that may change the target is written.
    IntentBefore,
    /// It is durable; the call has not left.
    IntentAfter,
    /// The call was answered, and its outcome is not written.
    ConcludeBefore,
    /// Its outcome is durable; the plugin has not heard of it.
    ConcludeAfter,
    /// Every statement of a transaction that several runs share was answered; its commit has not left.
    SharedBefore,
    /// It is committed; none of the runs knows.
    SharedAfter,
    /// A target has issued a credential, and nothing of it is kept.
    EscrowBefore,
    /// It is in the run's escrow; the plugin has no handle of it.
    EscrowAfter,
    /// Before a pending version is put into the vault.
    PendingBefore,
    /// It is durable; the plugin has no handle of it.
    PendingAfter,
    /// Before a version is made current in the vault.
    PromoteBefore,
    /// It is current; the run does not know.
    PromoteAfter,
    /// Before an older value is made current again.
    RollbackBefore,
    /// It is.
    RollbackAfter,
    /// Within a transaction of the store: a change was made, its savepoint is open.
    ChangeMade,
    /// Before the group's transaction is committed.
    CommitBefore,
    /// It is committed; nobody was told.
    CommitAfter,
    /// Within a migration of the store, made and numbered: before its commit.
    MigrateBefore,
    /// It is committed; the next one has not begun.
    MigrateAfter,
    /// A backup is written whole, under the name of a part.
    BackupBefore,
    /// It has its own name; nobody was told.
    BackupAfter,
    /// The state of a backup was made beside the one that is there, and is sound.
    RestoreBefore,
    /// It has the name under which the one that is there is to be kept; they have not changed places.
    RestoreReady,
    /// It is where the configuration has the state; nobody was told.
    RestoreAfter,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::BeginBefore,
        Self::BeginAfter,
        Self::SaveBefore,
        Self::SaveAfter,
        Self::EffectBefore,
        Self::EffectAfter,
        Self::IntentBefore,
        Self::IntentAfter,
        Self::ConcludeBefore,
        Self::ConcludeAfter,
        Self::SharedBefore,
        Self::SharedAfter,
        Self::EscrowBefore,
        Self::EscrowAfter,
        Self::PendingBefore,
        Self::PendingAfter,
        Self::PromoteBefore,
        Self::PromoteAfter,
        Self::RollbackBefore,
        Self::RollbackAfter,
        Self::ChangeMade,
        Self::CommitBefore,
        Self::CommitAfter,
        Self::MigrateBefore,
        Self::MigrateAfter,
        Self::BackupBefore,
        Self::BackupAfter,
        Self::RestoreBefore,
        Self::RestoreReady,
        Self::RestoreAfter,
    ];

    /// The name by which it is told to fail.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeginBefore => "begin-before",
            Self::BeginAfter => "begin-after",
            Self::SaveBefore => "save-before",
            Self::SaveAfter => "save-after",
            Self::EffectBefore => "effect-before",
            Self::EffectAfter => "effect-after",
            Self::IntentBefore => "intent-before",
            Self::IntentAfter => "intent-after",
            Self::ConcludeBefore => "conclude-before",
            Self::ConcludeAfter => "conclude-after",
            Self::SharedBefore => "shared-before",
            Self::SharedAfter => "shared-after",
            Self::EscrowBefore => "escrow-before",
            Self::EscrowAfter => "escrow-after",
            Self::PendingBefore => "pending-before",
            Self::PendingAfter => "pending-after",
            Self::PromoteBefore => "promote-before",
            Self::PromoteAfter => "promote-after",
            Self::RollbackBefore => "rollback-before",
            Self::RollbackAfter => "rollback-after",
            Self::ChangeMade => "change-made",
            Self::CommitBefore => "commit-before",
            Self::CommitAfter => "commit-after",
            Self::MigrateBefore => "migrate-before",
            Self::MigrateAfter => "migrate-after",
            Self::BackupBefore => "backup-before",
            Self::BackupAfter => "backup-after",
            Self::RestoreBefore => "restore-before",
            Self::RestoreReady => "restore-ready",
            Self::RestoreAfter => "restore-after",
        }
    }

    /// Whether it lies on the way of a run, not of an upgrade, a backup or a restore.
    pub fn is_of_a_run(self) -> bool {
        !matches!(
            self,
            Self::MigrateBefore
                | Self::MigrateAfter
                | Self::BackupBefore
                | Self::BackupAfter
                | Self::RestoreBefore
                | Self::RestoreReady
                | Self::RestoreAfter
        )
    }
}

/// The host is at a place. It does not come back from one that it was told to fail at.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub fn reach(_: Point) {}

#[cfg(feature = "enabled")]
pub use enabled::{arm, reach};

#[cfg(feature = "enabled")]
mod enabled {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::OnceLock;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    static TRACE: OnceLock<File> = OnceLock::new();

    /// Takes the orders of the environment. To be called once, before any work.
    ///
    /// # Errors
    /// An order for a place that there is not, one that cannot be understood, or a trace file that cannot be written.
    pub fn arm() -> Result<(), String> {
        let orders = std::env::var("FAILPOINTS").unwrap_or_default();
        for order in orders.split(';').filter(|order| !order.trim().is_empty()) {
            let (name, actions) = order
                .split_once('=')
                .ok_or_else(|| format!("`{order}` is no NAME=ACTIONS"))?;
            if !Point::ALL.iter().any(|point| point.name() == name.trim()) {
                return Err(format!("there is no failpoint `{name}`"));
            }
            fail::cfg(name.trim(), actions)?;
        }
        if let Some(path) = std::env::var_os("KEYWHEEL_FAILPOINT_TRACE") {
            let file = File::options().append(true).create(true).open(&path);
            let file = file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            TRACE.get_or_init(|| file);
        }
        Ok(())
    }

    /// The host is at a place. It does not come back from one that it was told to fail at.
    ///
    /// # Panics
    /// When it cannot die, or not tell of it: a harness would take what follows for something else.
    #[expect(clippy::expect_used, reason = "a test build")]
    pub fn reach(point: Point) {
        if let Some(mut file) = TRACE.get() {
            writeln!(file, "{}", point.name()).expect("the trace is written");
        }
        fail::fail_point!(point.name(), |_| {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            loop {
                std::thread::park();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
