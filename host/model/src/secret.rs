use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret's value in the host's memory. It has no Display, no Serialize and no Clone; Debug shows nothing of it, not
/// even its length; the buffer is wiped when dropped.
pub struct SecretBytes(Zeroizing<Box<[u8]>>);

impl SecretBytes {
    /// Takes the bytes over. A growing `Vec` leaves copies behind: build it with its final capacity.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes.into_boxed_slice()))
    }

    /// A copy of borrowed bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The value. Call it only where a secret enters a sink, and never keep what it returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second copy, where two owners are needed.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copy_of(self.expose())
    }

    /// Whether two values are the same, in time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_value_nor_length() {
        assert_eq!(
            format!("{:?}", SecretBytes::copy_of(b"planted-7f3")),
            "SecretBytes(***)"
        );
    }

    #[test]
    fn equality_is_by_value() {
        assert!(SecretBytes::copy_of(b"a").same_as(&SecretBytes::copy_of(b"a")));
        assert!(!SecretBytes::copy_of(b"a").same_as(&SecretBytes::copy_of(b"b")));
    }
}
