//! The shipped grants: each pins what its plugin declares now, and answers as its table says.
//!
//! `KEYWHEEL_BLESS=1 cargo test -p keywheel-policy` writes the digests anew; the change of `policies/` is then reviewed like code.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use keywheel_manifest::{Manifest, Shape};
use keywheel_policy::table::Table;
use keywheel_policy::{Grant, Policy, difference};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn plugin(name: &str) -> Manifest {
    let folder = root().join("plugins").join(name);
    let text = fs::read_to_string(folder.join("manifest.toml")).unwrap();
    let schema = fs::read_to_string(folder.join(Manifest::schema_file(&text).unwrap())).unwrap();
    Manifest::from_toml(&text, &schema).unwrap()
}

/// Name and text of every TOML file of a folder, sorted.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The grant's text with the digests of the plugin's shapes.
fn blessed(text: &str, manifest: &Manifest) -> String {
    let (head, _) = text.split_once("[shapes]\n").unwrap();
    let line = |shape: &Shape| format!("{} = \"{}\"\n", shape.id(), shape.digest());
    let lines: Vec<String> = manifest.shapes().iter().map(line).collect();
    format!("{head}[shapes]\n{}", lines.concat())
}

#[test]
fn each_shipped_grant_pins_what_its_plugin_declares_and_every_plugin_has_one() {
    let policies = files(&root().join("policies"));
    let mut plugins: Vec<String> = fs::read_dir(root().join("plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.toml").exists())
        .map(|path| name(&path))
        .collect();
    plugins.sort();
    assert_eq!(
        policies.iter().map(|(path, _)| name(path)).collect::<Vec<_>>(),
        plugins
    );
    for (path, text) in policies {
        let manifest = plugin(&name(&path));
        let wanted = blessed(&text, &manifest);
        if std::env::var_os("KEYWHEEL_BLESS").is_some() {
            fs::write(&path, &wanted).unwrap();
        } else {
            assert!(
                text == wanted,
                "{} has other digests than the plugin: look at the change of its manifest, then KEYWHEEL_BLESS=1 cargo test -p keywheel-policy",
                path.display()
            );
        }
        let grant = Grant::from_toml("policy", &wanted).unwrap();
        let asks = difference(&manifest, Some(&grant));
        assert!(
            !asks.asks_more() && asks.dropped_shapes.is_empty() && asks.dropped_capabilities.is_empty(),
            "{}\n{asks}",
            path.display()
        );
    }
}

#[test]
fn each_shipped_grant_answers_as_its_table_says() {
    let texts = files(&root().join("policies"));
    let named: Vec<(String, String)> = texts
        .iter()
        .map(|(path, text)| {
            let text = if std::env::var_os("KEYWHEEL_BLESS").is_some() {
                blessed(text, &plugin(&name(path)))
            } else {
                text.clone()
            };
            (format!("policies/{}.toml", name(path)), text)
        })
        .collect();
    let policy = Policy::load(named.iter().map(|(file, text)| (file.as_str(), text.as_str()))).unwrap();
    let tables = files(&root().join("policies/tests"));
    let mut failures = Vec::new();
    let (mut allowed, mut denied) = (0, 0);
    for (path, text) in &tables {
        let table = Table::from_toml(&path.display().to_string(), text).unwrap();
        for result in table.run(&policy, &plugin(table.plugin().as_str())) {
            if result.case.ends_with("allow") {
                allowed += 1;
            } else {
                denied += 1;
            }
            failures.extend(
                result
                    .failure
                    .map(|failure| format!("{}: {}\n{failure}", name(path), result.case)),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(
        tables.len() >= texts.len() && allowed >= 10 && denied >= 10,
        "{allowed} allow, {denied} deny"
    );
}
