//! Names and passwords that somebody has to quote.

use rand::RngExt as _;

/// Each has what ends a value in some form, or what a client takes for more than it is.
const PASSWORDS: [&str; 20] = [
    "p'a\"ss",
    "a;b=c",
    "{x}}y",
    "{all}",
    "sp ace",
    " around ",
    "per%cent%41",
    "at@sl/ash:co",
    "back\\slash\\",
    "quote\\'",
    "pl+us&amp?#",
    "\u{fc}\u{f1}\u{ed}\u{20ac}",
    "$(x)`y`${z}",
    "a,b",
    "[x]]",
    "=start",
    "''doubled\"\"",
    "--c/*d*/",
    "a;Pwd=x;b",
    "' user='x",
];

/// Hostile passwords, and `more` of random printable characters.
pub fn passwords(more: usize) -> Vec<String> {
    let mut rng = rand::rng();
    let random = |_| -> String {
        (0..24)
            .map(|_| char::from(rng.random_range(b' '..=b'~')))
            .collect()
    };
    let fixed = PASSWORDS.iter().map(|&password| password.to_owned());
    fixed.chain((0..more).map(random)).collect()
}

/// Names of users that servers take.
pub fn users() -> [&'static str; 3] {
    ["app", "an app's;{u}=1", "us\"er@h/x:%41"]
}
