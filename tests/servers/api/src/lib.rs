//! Small vendors of API keys to test against, stateful and strict, with faults on demand; and a service of one's own. `README.md` says what they are
//! like and what they are not.

#![forbid(unsafe_code)]

mod cloudflare;
mod datadog;
mod gitlab;
mod grafana;
mod sendgrid;
mod server;
mod service;
mod twilio;
mod wire;

pub use cloudflare::Cloudflare;
pub use datadog::Datadog;
pub use gitlab::Gitlab;
pub use grafana::Grafana;
pub use sendgrid::SendGrid;
pub use server::{Fault, Key, Server, Vendor};
pub use service::Service;
pub use twilio::Twilio;
pub use wire::{Listening, Reply, Request};
