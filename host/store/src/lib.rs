//! The SQLite journal: one writer, group commit, everything durable that is not a secret's value. Must not know what a rotation means.

#![forbid(unsafe_code)]
