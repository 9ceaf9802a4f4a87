//! `wit/` is valid, and what has been released of it still works: a component that was built for the last released contract
//! links with this one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, anyhow};
use wit_parser::{PackageId, Resolve, SourceMap, TypeDefKind, WorldId};

use super::{Finding, Repository};
use crate::process;

/// Files (path and text) of each package's directory.
type Contract = BTreeMap<String, Vec<(String, String)>>;

const WAY_OUT: &str =
    "records, variants, enums, flags and parameters are frozen: add a function or a resource instead";
/// The interfaces that components export, and the host calls.
const EXPORTS: [&str; 3] = ["configuration", "inventory", "rotator"];

pub(super) fn check(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let resolve = match resolve(&here(repository)?) {
        Ok(resolve) => resolve,
        Err(error) => {
            return Ok(vec![Finding::new(
                "wit",
                format!("{error:#}"),
                "mend it; wit/README.md has the rules",
            )]);
        }
    };
    let functions = resolve
        .interfaces
        .iter()
        .flat_map(|(_, interface)| interface.functions.values());
    let waiting = functions
        .filter(|function| function.kind.is_async())
        .map(|function| function.name.clone());
    let waiting_types = resolve
        .types
        .iter()
        .filter(|(_, ty)| matches!(ty.kind, TypeDefKind::Future(_) | TypeDefKind::Stream(_)));
    let waiting_types =
        waiting_types.map(|(_, ty)| ty.name.clone().unwrap_or_else(|| "a future or stream".to_owned()));
    let way_out = "make it a plain function: the host waits, the guest does not";
    Ok(waiting
        .chain(waiting_types)
        .map(|name| Finding::new("wit", format!("{name} is asynchronous"), way_out))
        .collect())
}

pub(super) fn check_release(repository: &Repository) -> anyhow::Result<Vec<Finding>> {
    let git = |arguments: &[&str]| {
        process::output(Command::new("git").current_dir(&repository.root).args(arguments))
    };
    let tags = git(&["tag", "--list", "wit-v*", "--sort=-version:refname"])?;
    let Some(tag) = tags.lines().next() else {
        println!(
            "check release: the contract has not been released yet (no tag wit-v*), so there is nothing to keep"
        );
        return Ok(Vec::new());
    };
    let listed = git(&["ls-tree", "-r", "--name-only", tag, "wit"])?;
    let mut released = Contract::new();
    for file in listed.lines() {
        add(&mut released, file, || git(&["show", &format!("{tag}:{file}")]))?;
    }
    let broken = |error: anyhow::Error| {
        Finding::new(
            "wit",
            format!("breaks components built for {tag}: {error:#}"),
            WAY_OUT,
        )
    };
    Ok(compare(&released, &here(repository)?)
        .err()
        .map(broken)
        .into_iter()
        .collect())
}

fn here(repository: &Repository) -> anyhow::Result<Contract> {
    let mut contract = Contract::new();
    for file in repository.files.iter().filter(|file| file.starts_with("wit/")) {
        add(&mut contract, file, || {
            Ok(repository.text(file)?.unwrap_or_default())
        })?;
    }
    Ok(contract)
}

fn add(
    contract: &mut Contract,
    file: &str,
    text: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    if let Some((folder, _)) = file.rsplit_once('/')
        && Path::new(file).extension().is_some_and(|ending| ending == "wit")
    {
        contract
            .entry(folder.to_owned())
            .or_default()
            .push((file.to_owned(), text()?));
    }
    Ok(())
}

fn resolve(contract: &Contract) -> anyhow::Result<Resolve> {
    let mut resolve = Resolve::default();
    extend(&mut resolve, contract)?;
    Ok(resolve)
}

/// Adds the packages, each after those that it needs, and gives them.
fn extend(resolve: &mut Resolve, contract: &Contract) -> anyhow::Result<Vec<PackageId>> {
    let mut packages = Vec::new();
    let mut open: Vec<_> = contract.iter().collect();
    while !open.is_empty() {
        let before = open.len();
        let mut why = None;
        open.retain(|(folder, files)| {
            let mut attempt = resolve.clone();
            match parse(&mut attempt, files) {
                Ok(package) => {
                    *resolve = attempt;
                    packages.push(package);
                    false
                }
                Err(error) => {
                    why.get_or_insert_with(|| error.context(format!("{folder} cannot be resolved")));
                    true
                }
            }
        });
        if let Some(why) = why.filter(|_| open.len() == before) {
            return Err(why);
        }
    }
    Ok(packages)
}

fn parse(resolve: &mut Resolve, files: &[(String, String)]) -> anyhow::Result<PackageId> {
    let mut map = SourceMap::default();
    for (file, text) in files {
        map.push(Path::new(file), text.as_str());
    }
    let group = map
        .parse()
        .map_err(|(map, error)| anyhow!("{}", error.render(&map)))?;
    Ok(resolve.push_group(group)?)
}

/// Whether a component for `released` links with a host and is called by a host of `new`.
///
/// # Errors
/// It does not; the message says where.
fn compare(released: &Contract, new: &Contract) -> anyhow::Result<()> {
    // Both contracts stand in one set: the released one under a version that nobody uses.
    let aside = released.iter().map(|(folder, files)| {
        let files = files
            .iter()
            .map(|(file, text)| (file.clone(), with_version(text, "0.0.0")))
            .collect();
        (folder.clone(), files)
    });
    let mut resolve = Resolve::default();
    let before = whole(&mut resolve, &aside.collect(), "0.0.0").context("the released contract")?;
    let after = whole(&mut resolve, new, "0.0.1").context("this contract")?;
    wit_component::semver_check(resolve, before, after)
}

/// A world that imports every interface that components import, and exports those that they export.
fn whole(resolve: &mut Resolve, contract: &Contract, version: &str) -> anyhow::Result<WorldId> {
    let packages = extend(resolve, contract)?;
    let mut lines = String::new();
    for package in packages {
        let package = &resolve.packages[package];
        for name in package.interfaces.keys() {
            let exported = package.name.name == "plugin" && EXPORTS.contains(&name.as_str());
            let direction = if exported { "export" } else { "import" };
            writeln!(lines, "{direction} {};", package.name.interface_id(name))?;
        }
    }
    let text = format!("package keywheel:whole@{version};\nworld whole {{\n{lines}}}\n");
    let package = resolve.push_source("whole.wit", &text)?;
    resolve.packages[package]
        .worlds
        .get("whole")
        .copied()
        .context("the world is missing")
}

/// The same text with every version of a `keywheel` package replaced.
fn with_version(text: &str, version: &str) -> String {
    let mut pieces = text.split('@');
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(piece.len());
        // `@0.1.0.{error}`: the dot before the brace belongs to the path.
        let end = if piece[..end].ends_with('.') { end - 1 } else { end };
        let is_version = piece[..end].split('.').count() == 3;
        replaced.push('@');
        replaced.push_str(if is_version { version } else { &piece[..end] });
        replaced.push_str(&piece[end..]);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: &str = "package keywheel:core@0.1.0;\ninterface types { record error { code: string } }\n\
                        interface secrets { use types.{error}; id: func() -> result<string, error>; }\n";
    const PLUGIN: &str = "package keywheel:plugin@0.1.0;\ninterface rotator { use keywheel:core/types@0.1.0.{error}; \
                          plan: func() -> result<string, error>; }\n";

    fn contract(core: &str, plugin: &str) -> Contract {
        let file = |name: &str, text: &str| {
            (
                format!("wit/{name}"),
                vec![(format!("wit/{name}/{name}.wit"), text.to_owned())],
            )
        };
        // `plugin` needs `core`; the order of the files does not matter.
        [file("a-plugin", plugin), file("core", core)].into()
    }

    fn breaks(core: &str, plugin: &str) -> bool {
        compare(&contract(CORE, PLUGIN), &contract(core, plugin)).is_err()
    }

    #[test]
    fn the_same_and_an_added_function_keep_old_components_working() {
        compare(&contract(CORE, PLUGIN), &contract(CORE, PLUGIN)).unwrap();
        assert!(!breaks(
            &CORE.replace("id: func", "name: func() -> string; id: func"),
            PLUGIN
        ));
        assert!(!breaks(
            &format!("{CORE}\ninterface more {{ f: func(); }}"),
            PLUGIN
        ));
    }

    #[test]
    fn a_removed_function_a_changed_parameter_and_a_grown_record_are_caught() {
        assert!(breaks(
            &CORE.replace("id: func() -> result<string, error>;", ""),
            PLUGIN
        ));
        assert!(breaks(&CORE.replace("id: func()", "id: func(of: u32)"), PLUGIN));
        assert!(breaks(
            &CORE.replace("code: string", "code: string, hint: string"),
            PLUGIN
        ));
    }

    #[test]
    fn a_step_that_old_components_do_not_export_is_caught() {
        assert!(breaks(
            CORE,
            &PLUGIN.replace("plan: func", "look: func(); plan: func")
        ));
    }

    #[test]
    fn a_new_version_of_the_same_contract_is_no_break() {
        let core = with_version(CORE, "0.2.0");
        assert!(core.contains("core@0.2.0"));
        compare(
            &contract(CORE, PLUGIN),
            &contract(&core, &with_version(PLUGIN, "0.2.0")),
        )
        .unwrap();
    }

    #[test]
    fn a_package_that_is_missing_or_broken_is_an_error_that_names_it() {
        let missing = contract("package keywheel:other@0.1.0;", PLUGIN);
        assert!(
            resolve(&missing)
                .unwrap_err()
                .to_string()
                .contains("wit/a-plugin")
        );
        let broken = contract("package keywheel:core@0.1.0; interface {", PLUGIN);
        assert!(resolve(&broken).is_err());
    }
}
