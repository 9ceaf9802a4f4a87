//! Where a value was sent on purpose.

use std::collections::BTreeSet;

use crate::terminal::SHOWN;

/// Files and streams, and the value of each.
const SENT: [(&str, &str); 9] = [
    ("host/vault.key", "the key file"),
    ("outside/recovery", "the recovery identity"),
    ("outside/second.key", "the second key file"),
    ("outside/third.key", "a key file made by hand"),
    ("outside/new.key", "a new key file of a restore"),
    ("outside/given", "a value in a file"),
    ("outside/read", "a value over the socket"),
    ("output of `script", SHOWN),
    (
        "output of `keywheel -vv secret read some/socket`",
        "a value over the socket",
    ),
];

/// Whoever types a value as an argument shows it to every process. The host only refuses it.
const TYPED: (&str, &str) = ("arguments of `keywheel", "typed as an argument");

type Found = BTreeSet<(String, String)>;

/// What leaked, and what was sent on purpose.
pub(crate) fn apart(found: Found) -> (Found, Found) {
    found.into_iter().partition(|(place, value)| {
        let is = |(sent, whose): &(&str, &str)| place.starts_with(sent) && value == whose;
        !SENT.iter().any(is) && !is(&TYPED)
    })
}

/// All of them were found.
pub(crate) fn is_whole(purpose: &Found) {
    for (sent, whose) in SENT.iter().chain([&TYPED]) {
        assert!(
            purpose
                .iter()
                .any(|(place, value)| place.starts_with(sent) && value == whose),
            "{whose} is not found in {sent}: the search is blind there"
        );
    }
}
