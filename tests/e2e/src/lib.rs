//! End-to-end tests against the built binary and real servers.

#![forbid(unsafe_code)]
