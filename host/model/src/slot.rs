use serde::{Deserialize, Serialize};

/// How a target keeps a credential: the class decides what a crash can do and so what the machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SlotClass {
    /// Caller-chosen, absolute set of accepted values (Redis ACL, MariaDB `VIA … OR …`): setting it is idempotent.
    A,
    /// Caller-chosen, relative dual slot ("retain current", MySQL): each set shifts.
    B,
    /// Caller-chosen single slot (one PostgreSQL role): overwrite, with an unavoidable gap.
    C,
    /// Issued by the target, several slots (SendGrid, IAM): the value is shown once; a lost reply leaves an orphan.
    D,
    /// Issued by the target, two fixed slots that can be read again (Azure keys).
    E,
    /// Issued by the target, one slot, with the old one kept by the server's clock.
    F,
    /// No interface: a person does it.
    G,
    /// A local key and an external issuer (ACME, internal CA).
    H,
}

impl SlotClass {
    /// Every class, in order.
    pub const ALL: [Self; 8] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
    ];

    /// Whether the target, not the host, makes the value.
    pub fn target_issues(self) -> bool {
        matches!(self, Self::D | Self::E | Self::F | Self::G)
    }

    /// Whether repeating `apply` with the same pending value changes nothing.
    pub fn apply_is_idempotent(self) -> bool {
        matches!(self, Self::A | Self::C | Self::H)
    }

    /// Whether `current` dies the instant the new credential is accepted.
    pub fn has_gap(self) -> bool {
        self == Self::C
    }
}

/// How a mode of a plugin keeps consumers going; declared in the manifest, chosen by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The target keeps one credential: a gap is unavoidable and is said so.
    OneSlot,
    /// Two at once: zero gap.
    TwoSlot,
    /// The target makes the credential; the old one is revoked later.
    IssueAndRevoke,
}

/// What `test` of a mode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// A fresh login with the credential.
    Login,
    /// The served certificate is seen in a handshake.
    Handshake,
    /// Nothing can be asked; needs `proof = "accept"` in the rotation (rule H7).
    None,
}
