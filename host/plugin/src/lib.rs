//! Loading and running plugin components: pin, compile cache, limits, a fresh instance per step. Must not know what a step means.

#![forbid(unsafe_code)]
