//! What MySQL keeps of a password under `caching_sha2_password`: SHA-256 crypt with a salt of twenty characters.

use keywheel_model::SecretBytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// As many as MySQL 8 takes by itself; newer ones take more and read these. Written in hexadecimal, in thousands.
const ROUNDS: u32 = 5000;
const PREFIX: &[u8] = b"$A$005$";
/// For salts and sums: nothing that has to be quoted.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `$A$005$`, twenty characters of salt and forty-three of the sum. Same password and salt give the same text, so that a step may be
/// repeated. Of each byte of the salt six bits count.
pub fn caching_sha2_hash(password: &SecretBytes, salt: &[u8; 20]) -> SecretBytes {
    let salt = salt.map(|byte| ALPHABET[usize::from(byte & 63)]);
    let sum = crypt(password.expose(), &salt, ROUNDS);
    SecretBytes::new([PREFIX, &salt, &written(&sum)].concat())
}

type Sum = Zeroizing<[u8; 32]>;

fn sum(parts: &[&[u8]]) -> Sum {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}

/// As many bytes as wanted, of the sum again and again.
fn stretched(sum: &Sum, length: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(sum.iter().copied().cycle().take(length).collect())
}

/// Ulrich Drepper's SHA-crypt, as in every C library.
fn crypt(password: &[u8], salt: &[u8], rounds: u32) -> Sum {
    let inner = sum(&[password, salt, password]);
    let mut first = Sha256::new_with_prefix(password);
    first.update(salt);
    first.update(&*stretched(&inner, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits % 2 == 1 { inner.as_slice() } else { password });
        bits /= 2;
    }
    let mut last: Sum = Zeroizing::new(first.finalize().into());

    let of_password = sum(&vec![password; password.len()]);
    let of_password = stretched(&of_password, password.len());
    let of_salt = stretched(&sum(&vec![salt; 16 + usize::from(last[0])]), salt.len());
    for round in 0..rounds {
        let (left, right) = if round % 2 == 1 {
            (of_password.as_slice(), last.as_slice())
        } else {
            (last.as_slice(), of_password.as_slice())
        };
        let salt = if round % 3 == 0 { &[][..] } else { &of_salt };
        let password = if round % 7 == 0 { &[][..] } else { &of_password };
        last = sum(&[left, salt, password, right]);
    }
    last
}

/// Three bytes in four characters, in an order of its own.
fn written(sum: &Sum) -> Vec<u8> {
    let mut text = Vec::with_capacity(43);
    let mut push = |bytes: [u8; 3], characters: usize| {
        let [high, middle, low] = bytes.map(u32::from);
        let mut value = high << 16 | middle << 8 | low;
        for _ in 0..characters {
            text.extend(usize::try_from(value & 63).ok().map(|at| ALPHABET[at]));
            value >>= 6;
        }
    };
    let mut order = [0, 10, 20];
    for _ in 0..10 {
        push(order.map(|at| sum[at]), 4);
        let [high, middle, low] = order;
        order = [low, high, middle].map(|at| (at + 1) % 30);
    }
    push([0, sum[31], sum[30]], 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification of SHA-crypt, and of Python's own `crypt`.
    #[test]
    fn the_sum_is_the_one_that_other_libraries_make() {
        let umlauts = "ä".repeat(40);
        for (password, salt, rounds, expected) in [
            (
                "Hello world!",
                "saltstring",
                5000,
                "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            ),
            (
                "we have a short salt string but not a short password",
                "short",
                77777,
                "JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/",
            ),
            ("", "abc", 5000, "bBHLwRRW2Li0XKaX13kz/g2fkDil4Jx46aNvd.48MS8"),
            (
                &umlauts,
                "saltysalt",
                1000,
                "0a8LlZXFTyChfNhQ7yVTqLyBYZg3drEeEdunVbsR1AB",
            ),
        ] {
            let made = written(&crypt(password.as_bytes(), salt.as_bytes(), rounds));
            assert_eq!(String::from_utf8(made).unwrap(), expected);
        }
    }

    #[test]
    fn a_hash_has_a_salt_that_needs_no_quoting() {
        let salt = [
            0, 64, 255, 39, 92, 34, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        ];
        let hash = caching_sha2_hash(&SecretBytes::copy_of(b"pwone"), &salt);
        let text = String::from_utf8(hash.expose().to_vec()).unwrap();
        assert_eq!(text.len(), 70);
        assert!(text.starts_with("$A$005$..z"), "{text}");
        assert!(
            text.bytes().skip(7).all(|byte| ALPHABET.contains(&byte)),
            "{text}"
        );
    }
}
