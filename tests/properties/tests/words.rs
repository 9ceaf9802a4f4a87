//! Units, names, ids, hosts, rules of hosts, pointers, hashes: what is taken is written again as the same, and nothing else is taken.

use keywheel_audit::Hash;
use keywheel_config::{parse_duration, parse_size, show_duration, show_size};
use keywheel_manifest::{Digest, Pointer, canonical_address};
use keywheel_model::address::{Class, Host, classify};
use keywheel_model::{PluginName, RotationName, RunId, SecretName, Timestamp, VersionId};
use keywheel_properties::{any_text, budget, edited};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

/// Most characters of an error that repeats what it was given: a megabyte is not repeated.
const ERROR_CHARACTERS: usize = 1_200;

fn texts(valid: &[&str]) -> impl Strategy<Value = String> + use<> {
    prop_oneof![
        any_text(),
        edited(valid.iter().map(|text| (*text).to_owned()).collect())
    ]
}

/// What is taken is written as what is taken as the same again; an error is short.
fn comes_back<T>(text: &str) -> Result<Option<T>, TestCaseError>
where
    T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug,
    T::Err: std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(read) => {
            let again = read.to_string();
            let back = again.parse::<T>().ok();
            prop_assert_eq!(back.as_ref(), Some(&read), "{:?} written as {:?}", text, again);
            Ok(Some(read))
        }
        Err(error) => {
            prop_assert!(error.to_string().chars().count() <= ERROR_CHARACTERS, "{}", error);
            Ok(None)
        }
    }
}

proptest! {
    #![proptest_config(budget(512))]

    #[test]
    fn durations_and_sizes_read_back_as_they_are_shown(ms in 0..=3_660 * 86_400_000_u64, bytes in 0..=64_u64 << 30) {
        let duration = Duration::from_millis(ms);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn units_take_what_they_mean_within_their_limits_and_refuse_in_few_words(text in texts(&["1d 2h 3m 4s 5ms", "24h", "128 MiB", "64KiB", "3660d"])) {
        match parse_duration(&text) {
            Ok(duration) => {
                prop_assert!(duration <= Duration::from_hours(24 * 3_660));
                prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
            }
            Err(error) => prop_assert!(error.to_string().len() < ERROR_CHARACTERS),
        }
        match parse_size(&text) {
            Ok(bytes) => {
                prop_assert!(bytes <= 64 << 30);
                prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
            }
            Err(error) => prop_assert!(error.to_string().len() < ERROR_CHARACTERS),
        }
    }

    #[test]
    fn names_hold_no_other_byte_than_they_say(text in texts(&["app/db.main_1", "db-1", "redis", "a/b/c"])) {
        if let Some(name) = comes_back::<SecretName>(&text)? {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!(text.len() <= 127 && !text.contains("..") && !text.contains("//"));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte)));
        }
        let plain = comes_back::<RotationName>(&text)?.is_some();
        prop_assert_eq!(plain, comes_back::<PluginName>(&text)?.is_some());
        if plain {
            prop_assert!(text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
        }
    }

    #[test]
    fn ids_read_back_and_hold_nothing_else(number: u64, ms in 0..1_u64 << 48, text in texts(&["run-00000000000000000000000007", "ver-00000000000000000000000007"])) {
        for id in [RunId::from_number(number), RunId::fresh(Timestamp::from_unix_ms(ms))] {
            prop_assert_eq!(id.as_str().parse::<RunId>().ok(), Some(id.clone()));
            prop_assert!(id.as_str().parse::<VersionId>().is_err());
        }
        if let Some(id) = comes_back::<RunId>(&text)? {
            prop_assert_eq!(id.as_str(), &text);
        }
        comes_back::<VersionId>(&text)?;
    }

    #[test]
    fn a_hash_has_one_spelling(bytes: [u8; 32], at in 0..64_usize, with in "[!-~]", text in texts(&["0f".repeat(32).as_str(), format!("sha256:{}", "a0".repeat(32)).as_str()])) {
        let hash = Hash(bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        let digest = Digest::of(&bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
        let mut near = hash.to_string();
        near.replace_range(at..=at, &with);
        for text in [&text, &near, &format!("sha256:{near}")] {
            if let Some(hash) = comes_back::<Hash>(text)? {
                prop_assert_eq!(&hash.to_string(), text);
            }
            if let Some(digest) = comes_back::<Digest>(text)? {
                prop_assert_eq!(&digest.to_string(), text);
            }
        }
    }

    #[test]
    fn a_host_has_one_spelling_and_its_address_a_class(text in texts(&["db-7.internal", "127.0.0.1", "[::ffff:10.0.0.1]", "::1", "0x7f.1"]), address: IpAddr) {
        if let Some(Host::Name(name)) = comes_back::<Host>(&text)? {
            prop_assert!(name.len() <= 253 && name.is_ascii() && name.to_ascii_lowercase() == name);
            prop_assert!(name.parse::<IpAddr>().is_err());
        }
        prop_assert_eq!(address.to_string().parse::<Host>().ok(), Some(Host::Address(address.to_canonical())));
        // However an address is wrapped, it opens no further than the one inside.
        if let IpAddr::V4(inner) = address {
            let mapped = IpAddr::V6(inner.to_ipv6_mapped());
            prop_assert_eq!(classify(mapped), classify(address));
            let nat64 = format!("64:ff9b::{inner}");
            prop_assert_eq!(classify(nat64.parse().expect("address")), classify(address));
        }
        prop_assert_eq!(classify(address), classify(address.to_canonical()));
        prop_assert!(!matches!(classify(IpAddr::from([169, 254, 1, 1])), Class::Public));
    }

    #[test]
    fn the_spelling_that_every_other_has_is_its_own(text in texts(&["LocalHost.:05432", "[2001:DB8::0]:1", "DB:5432", "127.0.0.1"])) {
        let once = canonical_address(&text);
        prop_assert_eq!(canonical_address(&once), once.clone());
        prop_assert_eq!(canonical_address(&text.to_ascii_uppercase()), canonical_address(&text.to_ascii_uppercase()));
        prop_assert!(once.len() <= text.len().max(45) + 8);
    }

    #[test]
    fn a_pointer_names_places_of_a_document_and_nothing_else(text in texts(&["/username", "/nodes/*/host", "/a~1b/~0c", "/0"]), document in keywheel_properties::json_text()) {
        if let Some(pointer) = comes_back::<Pointer>(&text)? {
            prop_assert!(text.len() <= 256 && text.starts_with('/'));
            prop_assert!(pointer.texts(&document).len() <= pointer.values(&document).len());
        }
    }

    #[test]
    fn rules_of_hosts_read_back(text in texts(&["db.internal:5432 tls", "{/host}:{/port} tls", "*.example.com:443 tls", "10.0.0.0/8:5432 plaintext", "[fd00::]/8:1 tls"])) {
        comes_back::<keywheel_policy::HostRule>(&text)?;
        comes_back::<keywheel_policy::SecretRule>(&text)?;
        if let Err(error) = text.parse::<keywheel_target::dial::Allow>() {
            prop_assert!(error.to_string().chars().count() <= ERROR_CHARACTERS);
        }
    }
}
