//! Why an approval does not count.

use std::fmt;

use keywheel_model::RunId;

use crate::approval::short;

/// Why an approval, or a refusal of one, does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unapproved {
    /// The run waits for none.
    NotAsked,
    /// The run is over.
    Over {
        /// How it ended.
        outcome: String,
    },
    /// Somebody has approved it already.
    Already {
        /// Who.
        by: String,
    },
    /// It came too late, or after a refusal.
    Late,
    /// It is of another plan than the one that the run waits with.
    OtherPlan {
        /// The digest that it waits with.
        digest: String,
    },
    /// Whoever has asked for the run does not approve it.
    Own,
    /// This user may not.
    NoRight {
        /// Who.
        by: String,
    },
}

impl fmt::Display for Unapproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("it does not wait for that"),
            Self::Over { outcome } => write!(f, "it is over ({outcome})"),
            Self::Already { by } => write!(f, "{by} has approved it already"),
            Self::Late => f.write_str("the time for that is over"),
            Self::OtherPlan { digest } => write!(f, "it waits with another plan, {}", short(digest)),
            Self::Own => f.write_str("whoever has asked for it may not approve it"),
            Self::NoRight { by } => write!(f, "{by} may not approve it"),
        }
    }
}

impl Unapproved {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotAsked => "run.no-approval",
            Self::Over { .. } => "run.over",
            Self::Already { .. } => "run.approved",
            Self::Late => "run.approval-late",
            Self::OtherPlan { .. } => "run.other-plan",
            Self::Own => "run.own-approval",
            Self::NoRight { .. } => "run.not-approver",
        }
    }

    /// The way out.
    pub(crate) fn hint(&self, run: &RunId) -> String {
        match self {
            Self::NotAsked => format!("`keywheel run show {run}` tells where it stands"),
            Self::Over { .. } => "nothing is left to do; `keywheel rotate` begins another".to_owned(),
            Self::Already { .. } => format!("`keywheel run resume {run}` goes on with it"),
            Self::Late => format!(
                "a running host ends it by itself, else `keywheel run resume {run}`; `keywheel rotate` begins another"
            ),
            Self::OtherPlan { .. } => format!("look at that one first: `keywheel run show {run}`"),
            Self::Own => "somebody else has to look at it, with a user of their own".to_owned(),
            Self::NoRight { .. } => {
                "`by` in `approval` of the rotation lists who may; without it the host's user and root"
                    .to_owned()
            }
        }
    }
}
