//! A 128-bit hash for visited states. Two different states among a hundred million share one with a probability below 1e-22.

use std::hash::Hasher;

/// Two lanes of multiply-and-fold with different keys.
pub(crate) struct Fingerprint(u64, u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    {
        product as u64 ^ (product >> 64) as u64
    }
}

impl Fingerprint {
    /// The hash.
    pub(crate) fn value(&self) -> u128 {
        let left = fold(self.0 ^ 0xa409_3822_299f_31d0, 0x9e37_79b9_7f4a_7c15);
        let right = fold(self.1 ^ 0x082e_fa98_ec4e_6c89, 0xbf58_476d_1ce4_e5b9);
        u128::from(left) << 64 | u128::from(right)
    }

    pub(crate) fn word(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x9e37_79b9_7f4a_7c15 ^ self.1.rotate_left(17)).wrapping_add(word);
        self.1 = fold(
            self.1.wrapping_add(word),
            0x94d0_49bb_1331_11eb ^ self.0.rotate_left(31),
        ) ^ word.rotate_left(7);
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word) ^ (rest.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }
}
