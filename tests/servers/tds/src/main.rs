//! The server as a program: `keywheel-tds --help`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it tells its port")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use keywheel_tds::{Azure, Encryption, Options, Policy, Server};

/// A small SQL Server to test against, on 127.0.0.1. The password of `sa` is taken from TDS_SA_PASSWORD.
#[derive(Parser)]
struct Arguments {
    /// The port; 0 is one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Which encryption it insists on.
    #[arg(long, value_enum, default_value = "optional")]
    encryption: Mode,
    /// Certificate chain in PEM.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key in PEM.
    #[arg(long)]
    key: Option<PathBuf>,
    /// The file in which logins, users and rights are kept.
    #[arg(long)]
    state: Option<PathBuf>,
    /// The file to which every login and statement is written, with all that stands in them.
    #[arg(long)]
    log: Option<PathBuf>,
    /// How many wrong passwords lock a login.
    #[arg(long)]
    lockout: Option<u32>,
    /// How many passwords are not to be used again.
    #[arg(long, default_value_t = 0)]
    history: usize,
    /// Answers as Azure SQL Database does for a server of this name.
    #[arg(long)]
    azure: Option<String>,
    /// For how many milliseconds Azure's cache goes on with the password before.
    #[arg(long, default_value_t = 0)]
    cache: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    None,
    Optional,
    Required,
    Strict,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let read = |path: &Option<PathBuf>| -> Result<String> {
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("{}", path.display()));
        Ok(path.as_ref().map(read).transpose()?.unwrap_or_default())
    };
    let server = Server::start(Options {
        port: arguments.port,
        password: std::env::var("TDS_SA_PASSWORD").context("TDS_SA_PASSWORD is not set")?,
        encryption: match arguments.encryption {
            Mode::None => Encryption::None,
            Mode::Optional => Encryption::Optional,
            Mode::Required => Encryption::Required,
            Mode::Strict => Encryption::Strict,
        },
        certificate: (read(&arguments.certificate)?, read(&arguments.key)?),
        policy: Policy {
            lockout: arguments.lockout,
            history: arguments.history,
            ..Policy::default()
        },
        azure: arguments.azure.map(|server| Azure {
            server,
            cache: Duration::from_millis(arguments.cache),
        }),
        state: arguments.state,
        log: arguments.log,
    })?;
    println!("listening on 127.0.0.1:{}", server.port());
    loop {
        std::thread::park();
    }
}
