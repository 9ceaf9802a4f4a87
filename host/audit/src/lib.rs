//! The audit trail's rows and their hash chain. Knows nothing of where rows are stored, and must never see a secret's value.

#![forbid(unsafe_code)]
