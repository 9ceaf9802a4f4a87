//! `keywheel.toml`, grants, pins, tables of cases and manifests: whatever is read, nothing stops the host, what is wrong is told at its place and
//! in a bounded list, and what is taken is written again as the same.

#![allow(clippy::expect_used, reason = "a test may stop")]

use std::collections::BTreeMap;
use std::path::Path;

use keywheel_config::Draft;
use keywheel_manifest::reader::Problem;
use keywheel_manifest::{Error, Manifest, pack, read};
use keywheel_policy::table::Table;
use keywheel_policy::{Grant, Lock};
use keywheel_properties::{any_text, budget, edited, edited_bytes, toml_text};
use proptest::prelude::*;

const CONFIGURATION: &str = include_str!("valid/keywheel.toml");
const POSTGRES: (&str, &str) = (
    include_str!("../../../plugins/postgres/manifest.toml"),
    include_str!("../../../plugins/postgres/schema.json"),
);
const REDIS: (&str, &str) = (
    include_str!("../../../plugins/redis/manifest.toml"),
    include_str!("../../../plugins/redis/schema.json"),
);
const GRANT: &str = include_str!("../../../policies/redis.toml");
const ODD_GRANT: &str = "plugin = \"redis\"\n[shapes]\n\"a b\" = \"sha256:61a80fb7f8cbfef660cdc53966c49bde465a196bade9e8187843e981d140aba2\"\n";
const TABLE: &str = include_str!("../../../policies/tests/postgres.toml");
const LOCK: &str = "format = 1\n\n[plugin.redis]\nversion = \"1\"\npublisher = \"RWQ\\\"x\"\n\
                    sha256 = \"sha256:61a80fb7f8cbfef660cdc53966c49bde465a196bade9e8187843e981d140aba2\"\n";

/// The most problems that are told of a configuration.
const PROBLEMS_OF_CONFIGURATION: usize = 200;
/// The most that are told of any other document.
const PROBLEMS: usize = 100;

/// The words of every format.
const WORDS: [&str; 70] = [
    "schedule",
    "cron",
    "every",
    "0 3 * * SUN",
    "@every 36h",
    "H/7 * */2 * *",
    "zone",
    "window",
    "blackout",
    "seconds",
    "state",
    "dir",
    "vault",
    "kind",
    "embedded",
    "key-file",
    "plugins",
    "lock",
    "upgrades",
    "policies",
    "trust",
    "pem",
    "limits",
    "memory",
    "128 MiB",
    "cpu",
    "step",
    "5s",
    "rotation",
    "name",
    "plugin",
    "secret",
    "inputs",
    "outputs",
    "config",
    "public",
    "/username",
    "policy",
    "grace",
    "consumers",
    "staleness",
    "gap",
    "proof",
    "login",
    "first",
    "adopt",
    "deadlines",
    "run",
    "probes",
    "logins",
    "per",
    "format",
    "version",
    "capabilities",
    "core",
    "hosts",
    "shapes",
    "reveal",
    "sha256",
    "case",
    "call",
    "expect",
    "allow",
    "configuration",
    "mode",
    "class",
    "sql",
    "text",
    "effect",
    "when",
];

/// What the others begin from.
#[test]
fn the_whole_configuration_is_taken() {
    let taken = Draft::read(CONFIGURATION, Path::new("keywheel.toml")).finish();
    assert!(taken.is_ok(), "{taken:#?}");
}

fn documents(valid: &[&str]) -> impl Strategy<Value = String> + use<> {
    let valid = valid.iter().map(|text| (*text).to_owned()).collect();
    prop_oneof![4 => edited(valid), 3 => toml_text(&WORDS), 1 => any_text()]
}

fn parsed(manifest: (&str, &str)) -> Manifest {
    Manifest::from_toml(manifest.0, manifest.1).expect("a shipped manifest")
}

/// A place is in the text, and no other.
fn is_in(text: &str, line: usize, column: usize) -> bool {
    let there = text.split('\n').nth(line.wrapping_sub(1));
    there.is_some_and(|there| (1..=there.chars().count() + 1).contains(&column))
}

/// Each problem that names a key has the place of it, or of the table that it is missing from.
fn told(problems: &[Problem], text: &str) -> Result<(), TestCaseError> {
    prop_assert!((1..=PROBLEMS).contains(&problems.len()), "{}", problems.len());
    for problem in problems {
        prop_assert!(!problem.message.is_empty());
        match problem.at {
            Some((line, column)) => prop_assert!(is_in(text, line, column), "{}", problem),
            None => prop_assert!(problem.path.is_empty(), "no place: {}", problem),
        }
    }
    Ok(())
}

fn policy_told(error: keywheel_policy::Error, text: &str) -> Result<(), TestCaseError> {
    let keywheel_policy::Error::Invalid { file, problems } = error else {
        return Err(TestCaseError::fail("one file grants nothing twice"));
    };
    prop_assert_eq!(file, "grant.toml");
    told(&problems, text)
}

proptest! {
    #![proptest_config(budget(512))]

    #[test]
    fn a_configuration_is_taken_or_all_that_is_wrong_has_its_place(text in documents(&[CONFIGURATION])) {
        let path = Path::new("some/keywheel.toml");
        let manifests = [POSTGRES, REDIS].map(parsed).map(|manifest| (manifest.name.clone(), manifest));
        let alone = keywheel_config::parse(&text, path);
        let whole = Draft::read(&text, path).check(&BTreeMap::from(manifests), &BTreeMap::new());
        if let Ok(config) = &whole {
            prop_assert_eq!(Some(config.rotations.len()), alone.as_ref().ok().map(|config| config.rotations.len()));
        }
        for problems in [alone.err(), whole.err()].into_iter().flatten() {
            prop_assert!((1..=PROBLEMS_OF_CONFIGURATION).contains(&problems.count()));
            for problem in &problems {
                let (line, column) = (problem.place.line, problem.place.column);
                prop_assert_eq!(problem.place.file.as_path(), path);
                prop_assert!(is_in(&text, line, column), "{}: {}", problem.place, problem);
                let is_known = ["config.", "schedule."].iter().any(|area| problem.code.starts_with(area));
                    prop_assert!(is_known && !problem.message.is_empty());
                prop_assert!(problem.line_text.as_ref().is_none_or(|line| !line.contains(char::is_control)));
            }
        }
    }

    #[test]
    fn a_grant_is_written_as_the_same_grant(text in documents(&[GRANT, ODD_GRANT])) {
        match Grant::from_toml("grant.toml", &text) {
            Ok(grant) => {
                let again = Grant::from_toml("grant.toml", &grant.to_toml());
                prop_assert_eq!(again.ok(), Some(grant));
            }
            Err(error) => policy_told(error, &text)?,
        }
    }

    #[test]
    fn pins_are_written_as_the_same_pins(text in documents(&[LOCK])) {
        match Lock::from_toml("grant.toml", &text) {
            Ok(lock) => {
                let again = Lock::from_toml("grant.toml", &lock.to_toml());
                prop_assert_eq!(again.ok(), Some(lock));
            }
            Err(error) => policy_told(error, &text)?,
        }
    }

    #[test]
    fn a_table_of_cases_is_run_or_refused(text in documents(&[TABLE])) {
        match Table::from_toml("grant.toml", &text) {
            Ok(table) => {
                let policy = keywheel_policy::Policy::load([("grant.toml", GRANT)]).expect("shipped");
                prop_assert!(table.run(&policy, &parsed(POSTGRES)).len() <= text.len());
            }
            Err(error) => policy_told(error, &text)?,
        }
    }

    #[test]
    fn a_manifest_is_the_same_in_its_canonical_form(text in documents(&[POSTGRES.0, REDIS.0])) {
        match Manifest::from_toml(&text, POSTGRES.1) {
            Ok(manifest) => {
                let canonical = manifest.to_canonical();
                prop_assert_eq!(Manifest::from_canonical(&canonical).expect("canonical").to_canonical(), canonical);
            }
            Err(Error::Invalid(problems)) => told(&problems, &text)?,
            Err(Error::Newer { found, newest }) => prop_assert!(found > newest),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    #[test]
    fn only_the_canonical_form_of_a_manifest_is_taken(bytes in edited_bytes(vec![parsed(POSTGRES).to_canonical(), parsed(REDIS).to_canonical()])) {
        if let Ok(manifest) = Manifest::from_canonical(&bytes) {
            prop_assert_eq!(manifest.to_canonical(), bytes);
        }
    }

    #[test]
    fn a_schema_of_settings_is_taken_or_refused(schema in edited(vec![POSTGRES.1.to_owned(), REDIS.1.to_owned()])) {
        if let Ok(manifest) = Manifest::from_toml(POSTGRES.0, &schema) {
            prop_assert!(manifest.validator().is_ok(), "a manifest that was taken can check settings");
        }
    }

    #[test]
    fn a_component_is_read_or_refused(bytes in edited_bytes(components()), other in any::<bool>()) {
        if let Ok(manifest) = read(&bytes) {
            prop_assert!(bytes.len() <= keywheel_manifest::MAX_COMPONENT_BYTES);
            let canonical = manifest.to_canonical();
            prop_assert!(bytes.windows(canonical.len()).any(|window| window == canonical), "what was read stands there");
            prop_assert!(matches!(pack(&bytes, &manifest), Err(Error::AlreadyPacked)));
            return Ok(());
        }
        let manifest = parsed(if other { REDIS } else { POSTGRES });
        if let Ok(packed) = pack(&bytes, &manifest) {
            prop_assert_eq!(read(&packed).expect("packed").to_canonical(), manifest.to_canonical());
        }
    }
}

/// The smallest component, bare and with manifests.
fn components() -> Vec<Vec<u8>> {
    let bare = b"\0asm\x0d\0\x01\0".to_vec();
    let packed = [POSTGRES, REDIS].map(|manifest| pack(&bare, &parsed(manifest)).expect("packed"));
    std::iter::once(bare).chain(packed).collect()
}
