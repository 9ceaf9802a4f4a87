//! `cargo xtask check`: holds the repository to its rules. Each rule its own file; a finding names its place and the way out.

mod banned;
mod codes;
mod contract;
mod inherits;
mod layers;
mod licences;
mod links;
mod metadata;
mod names;
mod places;
mod quotes;
mod sizes;
mod tools;
mod unsafe_code;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;
use metadata::Metadata;

/// Which rules.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these; left out: all.
    rules: Vec<String>,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    place: String,
    message: String,
    way_out: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            way_out: way_out.into(),
        }
    }
}

/// What the rules look at.
struct Repository {
    root: PathBuf,
    /// Files that are tracked, or would be: relative to the root, with `/`.
    files: Vec<String>,
    host: Metadata,
    plugins: Metadata,
}

impl Repository {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let mut git = Command::new("git");
        git.current_dir(root)
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
        let listed = process::output(&mut git)?;
        let files = listed
            .split('\0')
            .filter(|file| !file.is_empty() && root.join(file).is_file())
            .map(str::to_owned);
        Ok(Self {
            root: root.to_owned(),
            files: files.collect(),
            host: Metadata::read(root)?,
            plugins: Metadata::read(&root.join("plugins"))?,
        })
    }

    /// A file's text; `None` for one that is no text.
    fn text(&self, file: &str) -> anyhow::Result<Option<String>> {
        let bytes = fs::read(self.root.join(file)).with_context(|| format!("cannot read {file}"))?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// A list that a rule keeps beside this crate.
    fn list(&self, name: &str) -> anyhow::Result<String> {
        let file = self.root.join("host/xtask").join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}

type Rule = fn(&Repository) -> anyhow::Result<Vec<Finding>>;

/// Quick ones first.
const RULES: [(&str, Rule); 18] = [
    ("places", |repository| Ok(places::check(repository))),
    ("layers", layers::check),
    ("sizes", sizes::check),
    ("names", names::check),
    ("inherits", inherits::check),
    ("words", words::check),
    ("codes", codes::check),
    ("links", links::check),
    ("quotes", quotes::check),
    ("unsafe", unsafe_code::check),
    ("plugins", |repository| Ok(layers::check_plugins(repository))),
    ("licences", licences::check),
    ("banned", banned::check),
    ("wit", contract::check),
    ("release", contract::check_release),
    ("format", tools::format),
    ("lints", tools::lints),
    ("docs", tools::docs),
];

pub(crate) fn run(root: &Path, options: &Options) -> anyhow::Result<bool> {
    if let Some(unknown) = options
        .rules
        .iter()
        .find(|rule| RULES.iter().all(|(name, _)| name != rule))
    {
        bail!(
            "no rule `{unknown}`; there are {}",
            RULES.map(|(name, _)| name).join(", ")
        );
    }
    let repository = Repository::read(root)?;
    let mut count = 0;
    for (name, rule) in RULES {
        if !options.rules.is_empty() && !options.rules.iter().any(|wanted| wanted == name) {
            continue;
        }
        let findings =
            rule(&repository).with_context(|| format!("the rule `{name}` could not be checked"))?;
        println!(
            "check {name}: {}",
            if findings.is_empty() {
                "ok".to_owned()
            } else {
                format!("{} finding(s)", findings.len())
            }
        );
        for Finding {
            place,
            message,
            way_out,
        } in &findings
        {
            println!("  {place}: {message}\n    -> {way_out}");
        }
        count += findings.len();
    }
    println!(
        "{}",
        if count == 0 {
            "check: ok".to_owned()
        } else {
            format!("check: {count} finding(s)")
        }
    );
    Ok(count == 0)
}
