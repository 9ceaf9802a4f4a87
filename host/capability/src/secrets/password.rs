use std::collections::BTreeSet;

use keywheel_model::SecretBytes;
use zeroize::Zeroizing;

use super::fill_random;
use crate::error::Error;
use crate::handle::{Alphabet, Handle, Labels};

/// Letters, digits, `_` and `-`: safe in URLs, shells and every connection string.
const DEFAULT_ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const MIN_ENTROPY_BITS: f64 = 80.0;
const MAX_LENGTH: u16 = 512;
const MAX_REQUIREMENTS: usize = 8;
/// How far the counts of all requirements may multiply: the work of counting what they leave.
const MAX_STATES: usize = 4096;
/// Of this share of all passwords at least one in a few thousand draws is allowed.
const MIN_ACCEPTANCE: f64 = 1.0 / 1024.0;

/// Which passwords a target takes.
pub struct PasswordPolicy {
    length: u16,
    alphabet: BTreeSet<u8>,
    excluded: BTreeSet<u8>,
    excluded_first: BTreeSet<u8>,
    required: Vec<(BTreeSet<u8>, u16)>,
}

fn characters(text: &str) -> Result<BTreeSet<u8>, Error> {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if text.is_empty() || !text.bytes().all(printable) {
        return Err(Error::invalid(
            "secret.password-policy",
            "characters are printable ASCII, at least one",
        ));
    }
    Ok(text.bytes().collect())
}

impl PasswordPolicy {
    pub(crate) fn new(length: u16) -> Self {
        Self {
            length,
            alphabet: DEFAULT_ALPHABET.bytes().collect(),
            excluded: BTreeSet::new(),
            excluded_first: BTreeSet::new(),
            required: Vec::new(),
        }
    }

    pub(crate) fn alphabet(&mut self, text: &str) -> Result<(), Error> {
        self.alphabet = characters(text)?;
        Ok(())
    }

    pub(crate) fn require(&mut self, text: &str, count: u16) -> Result<(), Error> {
        let set = characters(text)?;
        if self.required.len() == MAX_REQUIREMENTS {
            return Err(Error::limit(
                "secret.password-policy",
                format!("a policy has at most {MAX_REQUIREMENTS} requirements"),
            ));
        }
        if count > 0 {
            self.required.push((set, count));
        }
        Ok(())
    }

    pub(crate) fn exclude(&mut self, text: &str) -> Result<(), Error> {
        self.excluded.extend(characters(text)?);
        Ok(())
    }

    pub(crate) fn exclude_first(&mut self, text: &str) -> Result<(), Error> {
        self.excluded_first.extend(characters(text)?);
        Ok(())
    }

    /// A password, uniform over all that the policy allows: drawn at random, and drawn anew if it lacks something required.
    pub(crate) fn generate(&self) -> Result<Handle, Error> {
        let rest: Vec<u8> = self.alphabet.difference(&self.excluded).copied().collect();
        let first: Vec<u8> = rest
            .iter()
            .copied()
            .filter(|byte| !self.excluded_first.contains(byte))
            .collect();
        if first.is_empty() || !(1..=MAX_LENGTH).contains(&self.length) {
            let message = format!(
                "the policy allows no password: it needs characters, and a length of 1 to {MAX_LENGTH}"
            );
            return Err(Error::invalid("secret.password-policy", message));
        }
        let acceptance = self.acceptance(&first, &rest)?;
        let bits = log2(first.len()) + f64::from(self.length - 1) * log2(rest.len()) + acceptance.log2();
        // An acceptance of zero makes it negative infinity, and that is refused too.
        if bits.is_nan() || bits < MIN_ENTROPY_BITS {
            let message = format!(
                "the policy leaves {} bits of entropy; it must leave {MIN_ENTROPY_BITS}",
                bits.max(0.0).floor()
            );
            return Err(Error::invalid("secret.password-policy", message));
        }
        if acceptance < MIN_ACCEPTANCE {
            return Err(Error::invalid(
                "secret.password-policy",
                "the requirements nearly fill the password; make it longer",
            ));
        }
        let mut password = Zeroizing::new(vec![0; usize::from(self.length)]);
        loop {
            draw(&first, &rest, &mut password)?;
            if self.satisfied(&password) {
                break;
            }
        }
        let alphabet: String = rest.iter().copied().map(char::from).collect();
        Ok(Handle::generated(
            SecretBytes::copy_of(&password),
            Labels::generated("text/plain", Alphabet::of(&alphabet)),
        ))
    }

    fn satisfied(&self, password: &[u8]) -> bool {
        let count = |set: &BTreeSet<u8>| password.iter().filter(|byte| set.contains(byte)).count();
        self.required
            .iter()
            .all(|(set, wanted)| count(set) >= usize::from(*wanted))
    }

    /// The share of all draws that satisfy every requirement, counted exactly up to rounding: a chain over what is still
    /// missing of each.
    fn acceptance(&self, first: &[u8], rest: &[u8]) -> Result<f64, Error> {
        let sizes: Vec<usize> = self
            .required
            .iter()
            .map(|(_, count)| usize::from(*count) + 1)
            .collect();
        let states = sizes.iter().try_fold(1_usize, |product, size| {
            product
                .checked_mul(*size)
                .filter(|product| *product <= MAX_STATES)
        });
        let Some(states) = states else {
            return Err(Error::invalid(
                "secret.password-policy",
                "the requirements are too many to be counted; ask for fewer",
            ));
        };
        let mut chances = vec![0.0; states];
        chances[states - 1] = 1.0;
        for at in 0..self.length {
            let steps = self.steps(if at == 0 { first } else { rest });
            let mut next = vec![0.0; states];
            for (state, chance) in chances.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
                for (kind, share) in &steps {
                    next[after(state, *kind, &sizes)] += chance * share;
                }
            }
            chances = next;
        }
        Ok(chances[0])
    }

    /// Which requirements a character counts for, as bits, and how often that comes up in one draw.
    fn steps(&self, characters: &[u8]) -> Vec<(u32, f64)> {
        let kind = |byte: &u8| {
            let bits = self
                .required
                .iter()
                .enumerate()
                .filter(|(_, (set, _))| set.contains(byte))
                .map(|(at, _)| 1_u32 << at);
            bits.sum::<u32>()
        };
        let mut counts = std::collections::BTreeMap::<u32, u32>::new();
        for character in characters {
            *counts.entry(kind(character)).or_default() += 1;
        }
        let all: u32 = counts.values().sum();
        counts
            .into_iter()
            .map(|(kind, count)| (kind, f64::from(count) / f64::from(all)))
            .collect()
    }
}

/// What is missing after one more character. A state is what is missing of each requirement, as digits of mixed radix.
fn after(state: usize, kind: u32, sizes: &[usize]) -> usize {
    let (mut rest, mut factor, mut next) = (state, 1, 0);
    for (at, size) in sizes.iter().enumerate() {
        let missing = rest % size;
        let hit = kind >> at & 1 == 1;
        next += factor * if hit { missing.saturating_sub(1) } else { missing };
        rest /= size;
        factor *= size;
    }
    next
}

fn log2(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, |count| f64::from(count).log2())
}

/// Each character uniform over its set: a random byte beyond the last whole multiple of the set's size is drawn anew, since
/// the remainder would favour the first ones.
fn draw(first: &[u8], rest: &[u8], password: &mut [u8]) -> Result<(), Error> {
    let mut pool = Zeroizing::new([0_u8; 256]);
    let mut left = 0;
    for (at, place) in password.iter_mut().enumerate() {
        let set = if at == 0 { first } else { rest };
        *place = loop {
            if left == 0 {
                fill_random(&mut *pool)?;
                left = pool.len();
            }
            left -= 1;
            let random = usize::from(pool[left]);
            if random < 256 - 256 % set.len() {
                break set[random % set.len()];
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(policy: &PasswordPolicy) -> String {
        String::from_utf8(policy.generate().unwrap().value().expose().to_vec()).unwrap()
    }

    #[test]
    fn the_default_is_safe_everywhere_and_strong() {
        let policy = PasswordPolicy::new(32);
        let handle = policy.generate().unwrap();
        assert!(handle.labels().alphabet.is_plain() && !handle.is_durable());
        assert_ne!(text(&policy), text(&policy));
    }

    #[test]
    fn what_is_required_is_there_and_what_is_excluded_is_not() {
        let mut policy = PasswordPolicy::new(24);
        policy
            .alphabet("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#")
            .unwrap();
        policy.require("0123456789", 3).unwrap();
        policy.require("!#", 1).unwrap();
        policy.exclude("0O").unwrap();
        policy.exclude_first("!#123456789").unwrap();
        for _ in 0..200 {
            let password = text(&policy);
            assert!(
                password.chars().filter(char::is_ascii_digit).count() >= 3,
                "{password}"
            );
            assert!(
                password.contains(['!', '#']) && !password.contains(['0', 'O']),
                "{password}"
            );
            assert!(
                password.starts_with(|first: char| first.is_ascii_alphabetic()),
                "{password}"
            );
        }
    }

    #[test]
    fn fewer_than_80_bits_are_refused() {
        assert!(PasswordPolicy::new(13).generate().is_err());
        assert!(PasswordPolicy::new(14).generate().is_ok());
        let mut digits = PasswordPolicy::new(24);
        digits.alphabet("01234567890123456789").unwrap();
        assert!(
            digits.generate().is_err(),
            "24 digits are 79.7 bits; a doubled alphabet adds none"
        );
        let mut constant = PasswordPolicy::new(14);
        constant.require("a", 14).unwrap();
        assert!(constant.generate().is_err());
    }

    #[test]
    fn impossible_requirements_are_refused_at_once() {
        let mut policy = PasswordPolicy::new(32);
        policy.require("!", 1).unwrap();
        assert!(policy.generate().is_err(), "`!` is not in the alphabet");
        let mut policy = PasswordPolicy::new(32);
        for _ in 0..8 {
            policy.require("ab", 30).unwrap();
        }
        assert!(policy.generate().is_err());
    }

    #[test]
    fn the_share_of_allowed_passwords_is_counted_exactly() {
        let mut policy = PasswordPolicy::new(2);
        policy.alphabet("ab").unwrap();
        policy.require("a", 1).unwrap();
        assert!((policy.acceptance(b"ab", b"ab").unwrap() - 0.75).abs() < 1e-12);
        policy.require("b", 1).unwrap();
        assert!((policy.acceptance(b"ab", b"ab").unwrap() - 0.5).abs() < 1e-12);
        // The first may not be `b`: of `aa` and `ab` one has both.
        assert!((policy.acceptance(b"a", b"ab").unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn every_character_comes_up_about_as_often() {
        let policy = PasswordPolicy::new(512);
        let mut counts = [0_u32; 256];
        for _ in 0..200 {
            policy
                .generate()
                .unwrap()
                .value()
                .expose()
                .iter()
                .for_each(|byte| counts[usize::from(*byte)] += 1);
        }
        // 102,400 draws over 64 characters: 1,600 each, give or take six standard deviations.
        let counts: Vec<u32> = DEFAULT_ALPHABET
            .bytes()
            .map(|byte| counts[usize::from(byte)])
            .collect();
        assert!(
            counts.iter().all(|count| (1_360..1_840).contains(count)),
            "{counts:?}"
        );
    }
}
