use serde::{Deserialize, Serialize};

/// Why a run waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The plugin needs a person: a key to paste, a button to press.
    Blocked,
    /// The vault stays unreadable or unwritable.
    Vault,
    /// The target stays unreachable, or the step keeps failing.
    Target,
    /// The account is locked, disabled or expired.
    Account,
    /// The budget of failed logins is used up.
    Budget,
    /// Somebody wrote the secret by hand (rule P3).
    ByHand,
    /// There is no current version, and a first one may not just be set (rule P15).
    AdoptionRequired,
    /// The target refuses both the current and the pending version (rule P11); current was applied again.
    BothRejected,
    /// The target refuses every kept version.
    NothingAccepted,
    /// The vault was restored and the target knows something newer (rule P2).
    Restored,
    /// The plugin or its grant was taken away (rule P12).
    Withdrawn,
    /// The target accepts the credential, with too few rights.
    Limited,
    /// The previous version is still accepted after it was revoked.
    StillAlive,
    /// The plugin cannot do what the protocol needs here.
    Impossible,
    /// The two fixed slots of the target hold neither what is current nor what was made (rule P6).
    Slots,
    /// A live secret came back to the plugin or out of it (rule H4).
    Reflection,
    /// The target lets the account in whatever the credential is: no login proves one.
    NotAsked,
    /// The account is not on the target.
    NoAccount,
    /// The server's certificate is not trusted or for another name, or it offers no TLS.
    Tls,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 19] = [
        Self::Blocked,
        Self::Vault,
        Self::Target,
        Self::Account,
        Self::Budget,
        Self::ByHand,
        Self::AdoptionRequired,
        Self::BothRejected,
        Self::NothingAccepted,
        Self::Restored,
        Self::Withdrawn,
        Self::Limited,
        Self::StillAlive,
        Self::Impossible,
        Self::Slots,
        Self::Reflection,
        Self::NotAsked,
        Self::NoAccount,
        Self::Tls,
    ];

    /// Of the code of a failed step: what only a person can change, so that another try would fail in the same way.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "plugin.reflection" => Self::Reflection,
            "login.not-asked" => Self::NotAsked,
            "account.missing" => Self::NoAccount,
            "tls.name" | "tls.untrusted" | "tls.missing" => Self::Tls,
            _ => return None,
        })
    }

    /// The word used in output and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Vault => "vault",
            Self::Target => "target",
            Self::Account => "account",
            Self::Budget => "budget",
            Self::ByHand => "by-hand",
            Self::AdoptionRequired => "adoption-required",
            Self::BothRejected => "both-rejected",
            Self::NothingAccepted => "nothing-accepted",
            Self::Restored => "restored",
            Self::Withdrawn => "withdrawn",
            Self::Limited => "limited",
            Self::StillAlive => "still-alive",
            Self::Impossible => "impossible",
            Self::Slots => "slots",
            Self::Reflection => "reflection",
            Self::NotAsked => "not-asked",
            Self::NoAccount => "no-account",
            Self::Tls => "tls",
        }
    }

    /// What a person can do about it.
    pub fn way_out(self) -> &'static str {
        match self {
            Self::Blocked => "do what the text says, then `run resume`",
            Self::Vault => {
                "make the vault readable and writable (unseal it, check its network and rights), then `run resume`"
            }
            Self::Target => {
                "make the target reachable and the step possible, then `run resume`; or `run rollback`"
            }
            Self::Account => "unlock the account on the target, then `run resume`",
            Self::Budget => "wait until the target has forgotten the failed logins, then `run resume`",
            Self::ByHand => {
                "if the version written by hand is right, `run resume --accept-head`; else roll the secret back, then `run resume`"
            }
            Self::AdoptionRequired => {
                "`secret import` the credential in use and adopt it; or set `first = \"set\"` and start again"
            }
            Self::BothRejected => {
                "current works again; find out why the target did not take the new one (its password rules?), then `run resume`"
            }
            Self::NothingAccepted | Self::Restored => {
                "import the credential that the target accepts; or, to put the vault's current one on the target, `run resume --apply-current`"
            }
            Self::Withdrawn => {
                "grant it again or add the plugin again, then `run resume`; a cancel is obeyed then"
            }
            Self::Limited => {
                "give the new credential its rights on the target, then `run resume`; or `run rollback`"
            }
            Self::StillAlive => "revoke the previous credential on the target by hand, then `run resume`",
            Self::Impossible => {
                "the plugin cannot do this: see its message. Before the promotion `run cancel`; after it put the vault's current value on the target by hand, then `run resume`"
            }
            Self::Reflection => {
                "find out what showed the secret: the target, or the plugin. Before the promotion `run cancel`; else mend it, then `run resume`"
            }
            Self::NotAsked => {
                "let the target ask the account for its password, then `run resume`; or, before the promotion, `run cancel`"
            }
            Self::NoAccount => {
                "make the account on the target, with the credential that the vault has for it, then `run resume`; or, before the promotion, `run cancel`"
            }
            Self::Tls => {
                "mend the server's certificate or what is trusted here, then `run resume`; or, before the promotion, `run cancel`"
            }
            Self::Slots => {
                "look at both slots on the target; import the right one as current, then `run resume`"
            }
        }
    }
}
