//! What the operator grants a plugin: load, decide, explain. Pure; default is deny.

#![forbid(unsafe_code)]
