//! What the host refuses whatever a grant says: the rule behind each code that a refused call can have beside `policy.denied`.

/// A rule of the host that stands above the grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable, dotted, lower case: what the audit trail has.
    pub code: &'static str,
    /// The rule.
    pub says: &'static str,
    /// What a grant can do about it. None: nothing.
    pub way: Option<&'static str>,
}

const fn never(code: &'static str, says: &'static str) -> Rule {
    Rule {
        code,
        says,
        way: None,
    }
}

const fn granted(code: &'static str, says: &'static str, way: &'static str) -> Rule {
    Rule {
        code,
        says,
        way: Some(way),
    }
}

/// All of them.
pub const RULES: [Rule; 24] = [
    never("host.not-offered", "this host does not offer the package"),
    never(
        "manifest.capability",
        "a plugin calls only the packages that its manifest lists",
    ),
    never(
        "shape.none",
        "a call with a secret is one that the manifest declares",
    ),
    never(
        "shape.ambiguous",
        "a call with a secret is exactly one that the manifest declares",
    ),
    never(
        "shape.unplaced-secret",
        "each secret in a call is a piece of its own, and is stored before",
    ),
    never(
        "step.effect",
        "a step changes no more than it is there for: `plan` nothing, `test` logs in and no more, and after a restore nothing is deleted",
    ),
    never(
        "secret.not-durable",
        "a generated secret is stored before a target has it",
    ),
    never(
        "secret.known",
        "what the plugin may know is no credential, and nobody logs in with it",
    ),
    never("secret.sink", "a secret flows only where its labels say"),
    never(
        "secret.not-a-credential",
        "a new credential was generated, captured or composed of such, and is none that is in use",
    ),
    never(
        "secret.matches",
        "only secrets that no plugin had a hand in are compared",
    ),
    never(
        "secret.derive",
        "a one-way form is made of a whole secret that no plugin had a hand in",
    ),
    never(
        "secret.part",
        "a part is one that was inserted whole, or that the host has read itself",
    ),
    never("secret.public-part", "only what is no secret is shown"),
    never(
        "vault.rotated",
        "the rotated secret is reached through the run alone",
    ),
    never(
        "net.not-fresh",
        "a login is the first thing on its channel, and a secret goes over none that bytes were written to",
    ),
    never(
        "net.carried",
        "over a channel that carried a secret go declared frames alone",
    ),
    never(
        "net.undeclared-secret",
        "a secret goes over a channel inside of a declared frame",
    ),
    never(
        "run.input",
        "a plugin is given the inputs that its rotation names",
    ),
    never(
        "net.server-name",
        "a server's certificate is checked for the host that is dialled",
    ),
    granted(
        "net.forbidden-address",
        "a name leads to no address that its grant does not open; link-local addresses, those of instance metadata, multicast and reserved ones are closed for ever",
        "any other address, or its network, can stand in `hosts`",
    ),
    granted(
        "net.unsafe-stream",
        "a secret enters no stream without TLS, and none whose certificate was not checked",
        "an entry of `hosts` with the word `plaintext` allows that server without TLS",
    ),
    granted(
        "net.plaintext-denied",
        "a server is spoken to with TLS",
        "an entry of `hosts` with the word `plaintext` allows that server without TLS",
    ),
    granted(
        "net.not-allowed",
        "only hosts that a grant names are dialled",
        "an entry of `hosts` names it",
    ),
];

/// The rule of a code.
pub fn rule(code: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.code == code)
}
