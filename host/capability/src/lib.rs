//! What a plugin may call: the host side of every WIT package. Must not know how a plugin was loaded nor where a run is journalled.

#![forbid(unsafe_code)]
