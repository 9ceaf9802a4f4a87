//! The built binary, run as a person or a script runs it: words, exit codes, streams.

#![cfg(test)]

mod audit;
mod checkpoints;
mod config;
mod doctor;
mod frame;
mod init;
mod kit;
mod outside;
mod passphrase;
mod plugin;
mod policy;
mod publishers;
mod rotation;
mod schedule;
mod state;
mod touched;
