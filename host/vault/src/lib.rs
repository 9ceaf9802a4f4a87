//! Where secrets' values are kept: the vault trait and the embedded back end. Must not know rotations or plugins.

#![forbid(unsafe_code)]
