//! Loading and running plugin components: pin, compile cache, limits, a fresh instance per step. Must not know what a step means.
//!
//! | what | who |
//! |---|---|
//! | [`Runtime`] | the engine, its limits and its compile cache; one for the host |
//! | [`Registry`] | the plugin folder against `plugins.lock` and the grants: [`Registry::scan`], [`Registry::add`] |
//! | [`Plugin`] | one component: [`Plugin::run`] a step, [`Plugin::check_config`] |
//! | [`StepEnd`] | how a step ended, in the eyes of the host |
//!
//! **Invariant:** what runs is what was hashed: a file is read once, and those bytes are hashed, compared with the pin and
//! compiled. **Invariant:** an instance lives for one call. **Invariant:** compiled code is loaded only if this host made it.

#![deny(unsafe_code)]

mod add;
mod cache;
mod call;
mod compile;
mod error;
mod instance;
mod keep;
mod limits;
mod look;
mod meter;
mod ours;
mod plan;
mod plugin;
mod private;
mod publisher;
mod registry;
mod runtime;
mod source;
mod stop;
mod ticker;

pub use add::Addition;
pub use cache::CacheOptions;
pub use call::{StepEnd, StepValue};
pub use error::{Error, shown};
pub use limits::{Limits, WALL_CLOCK_LIMIT};
pub use ours::check_ours;
pub use plan::{Finding, Plan, PlannedStep};
pub use plugin::Plugin;
pub use publisher::{InvalidKey, Publishers};
pub use registry::{Listed, Places, Registry, Rules, Status, Upgrades};
pub use runtime::{Runtime, RuntimeOptions};
pub use stop::Stop;
