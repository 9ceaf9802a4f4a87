//! Connections to targets: checked dialling, TLS, PostgreSQL sessions, byte channels, frames. Knows no plugin and no policy: what may be dialled is passed in.

#![forbid(unsafe_code)]
