//! When a rotation is due: expressions, zones, lifetimes, windows, blackouts, jitter, catch-up, order and retry. Pure: the time is an argument, and
//! the one thing that is looked up is a zone's name, once, when a schedule is read ([`Zone`]). Must not know where configuration, runs or
//! secrets are kept, nor how a run is started.
//!
//! A [`Schedule`] is what is configured, and may be shared by a million rotations; [`Schedule::plan`] makes it one rotation's, and
//! [`Plan::next`] says when that one is due, and why.

#![forbid(unsafe_code)]

mod brake;
mod breaker;
mod calendar;
mod error;
mod expression;
mod field;
mod fires;
mod hash;
mod order;
mod plan;
mod retry;
mod schedule;
mod upcoming;
mod zone;

pub use brake::{Brake, many};
pub use breaker::{Breaker, Down};
pub use calendar::{Blackout, HORIZON, Open, Window};
pub use error::{Error, Spot};
pub use expression::Expression;
pub use field::Field;
pub use order::{Admission, Override, Priority, Rank, Waiting};
pub use plan::{Because, Blocked, Facts, Idle, Next, Pause, Plan, Planned};
pub use retry::Retry;
pub use schedule::{CatchUp, Schedule, Trigger};
pub use upcoming::Upcoming;
pub use zone::{Zone, Zones};
