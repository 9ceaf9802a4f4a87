use sha2::{Digest, Sha256};

/// A number that is the same on every host and after every restart, and as good as random between names: of a purpose, a rotation, and what
/// tells one use from the next.
pub(crate) fn spread(purpose: &str, name: &str, what: u64) -> u64 {
    let mut hash = Sha256::new();
    for part in [purpose, name] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(what.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.split_at(8);
    first
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
