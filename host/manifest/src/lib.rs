//! What a plugin asks for: the manifest, its canonical form, and the shapes that a call with a secret must match. Pure: it
//! reads bytes and compares values, runs nothing, opens nothing, and does not know who grants.
//!
//! - [`Manifest`]: from `manifest.toml`, or [`read`] out of a component; [`pack`] writes it in.
//! - [`Shape`] and [`Call`]: [`Manifest::find_shape`] and [`Manifest::require_shape`] say which declared shape a call is.
//! - [`reader`]: strict reading of TOML and JSON documents that lists every problem with its place.

#![forbid(unsafe_code)]

mod address;
mod call;
mod canonical;
mod error;
mod manifest;
mod matcher;
mod pointer;
pub mod reader;
mod refusal;
mod section;
mod shape;
mod template;

pub use address::canonical as canonical_address;
pub use call::{Call, FrameToken, Piece, Position, Request, SecretRole, SecretUse};
pub use canonical::canonical_json;
pub use error::Error;
pub use manifest::{Capability, FORMAT, HOST_FORMAT, HOST_OR_SOCKET_FORMAT, Manifest, Mode, Principal};
pub use pointer::{Pointer, expand};
pub use refusal::{Reason, Refusal};
pub use section::{MAX_COMPONENT_BYTES, MAX_MANIFEST_BYTES, SECTION, pack, read, read_again};
pub use shape::{
    Digest, FrameShape, Framing, HttpShape, LoginShape, Meaning, Reply, Shape, ShapeBody, ShapeEffect,
    SqlShape, Told,
};
