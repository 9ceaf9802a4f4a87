//! The embedded engine: drives the workflow over store, vault and plugins. The only crate that knows them all.

#![forbid(unsafe_code)]
