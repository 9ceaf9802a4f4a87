//! Exhaustive search and simulation over the very same step function the host runs.

#![forbid(unsafe_code)]
