//! Kills the shipped binary at every point there is, on real servers, and judges by the record of an independent witness whether anybody was
//! ever locked out.
//!
//! One target has a server, a host, a proxy between the two, and a witness that logs in beside the proxy. The driver (`drive`) lets the host
//! work, hits it at a point, lets it recover, and hands what was seen to the checker (`check`). Nothing here uses the product's crates.

#![forbid(unsafe_code)]

mod check;
mod choices;
mod dialect;
mod drive;
mod emergency;
mod hit;
mod host;
mod options;
mod points;
mod proxy;
mod record;
mod report;
mod run;
mod scene;
mod soak;
mod tap;
mod target;
mod vault;
mod witness;

pub use options::{Control, Options, Programs};
pub use run::run;
