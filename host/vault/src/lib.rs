//! Where secrets' values are kept: the vault trait and the embedded back end. Must not know rotations or plugins.

#![forbid(unsafe_code)]

mod error;
mod types;
mod vault;

pub use error::Error;
pub use types::{
    Author, Capabilities, Change, Escrowed, Head, Labels, Metadata, Origin, Output, Pending, Promotion, Rider,
    SecretValue, VersionInfo,
};
pub use vault::Vault;
