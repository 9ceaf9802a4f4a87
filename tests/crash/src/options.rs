//! What is to be killed, and with which programs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::chosen;

/// What is to be killed, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The targets, with commas between them. All of them, if left out
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub targets: Vec<String>,
    /// The vault of the host
    #[arg(long, default_value = "embedded", value_name = "NAME")]
    pub vault: String,
    /// How many kills, over all targets
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub kills: u32,
    /// Repeats the choices of a run; a random one if left out
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Only points with this in their name
    #[arg(long, value_name = "WORD")]
    pub point: Option<String>,
    /// Only this path: rotate, first, adopt, rollback, put-back, admin, scheduled
    #[arg(long, value_name = "NAME")]
    pub path: Option<String>,
    /// In place of that many kills at every point: serve for so many minutes, with a rotation every few seconds, and kill that host about once a minute
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["kills", "point", "path", "control"])]
    pub soak: Option<u32>,
    /// In place of one credential at a time: many roles of one PostgreSQL at once, whose changes share transactions
    #[arg(long, conflicts_with_all = ["targets", "soak", "point", "path"])]
    pub emergency: bool,
    /// Keeps what was seen, also where nothing was found
    #[arg(long)]
    pub keep: bool,
    /// Does something wrong on purpose: the run must find it, and end with 1
    #[arg(long, value_enum, value_name = "WHICH")]
    pub control: Option<Control>,
}

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Control {
    /// After the first recovery the account has a password that nobody holds, and no other
    Spoiled,
    /// After a recovery the account takes a revoked value again
    Stale,
    /// A host may fail more logins than the checker is told
    Logins,
    /// A host has far more time for a step than a stopped one is left for, so that what it does after `SIGCONT` is late
    Late,
}

impl Options {
    /// Says the seed, and fails where a name is none or a server's programs are not to be had; nothing is killed. For whoever still has to
    /// build the programs.
    ///
    /// # Errors
    /// Unknown names; a missing package, with how to get it.
    pub fn look(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let seed = *self
            .seed
            .get_or_insert_with(|| RandomState::new().build_hasher().finish());
        say(&format!("crash: seed {seed}"));
        for known in chosen(self)? {
            let Some(package) = known.package else { continue };
            package
                .installed()
                .with_context(|| format!("there is no server for the target `{}`", known.name))?;
        }
        Ok(())
    }
}

/// Where the programs are, and where evidence is kept.
#[derive(Clone, Debug, clap::Args)]
#[group(required = false)]
pub struct Programs {
    /// The built `keywheel`
    #[arg(long, value_name = "FILE", required = false)]
    pub binary: PathBuf,
    /// The same with failpoints: `keywheel-failpoints`
    #[arg(long, value_name = "FILE", required = false)]
    pub failpoints: PathBuf,
    /// The folder of the built plugins
    #[arg(long, value_name = "FOLDER", required = false)]
    pub plugins: PathBuf,
    /// A folder for what is seen; what a clean run leaves is removed
    #[arg(long, value_name = "FOLDER", required = false)]
    pub evidence: PathBuf,
}
