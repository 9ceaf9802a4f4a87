//! Real servers and fixtures for tests and the demo: found or installed, started on free ports, stopped again.

#![forbid(unsafe_code)]
