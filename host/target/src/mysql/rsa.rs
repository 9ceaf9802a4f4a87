//! A password for a server without TLS: encrypted with the public key that the server shows (RSA-OAEP with SHA-1, RFC 8017).
//!
//! Nobody vouches for that key. Whoever only listens learns nothing; whoever is in between can show one of their own.

use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

const HASH_BYTES: usize = 20;
/// Of the modulus: 2048 to 8192 bits.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The exponent that every server's key has.
const EXPONENT: &[u8] = &[1, 0, 1];

/// Least significant first.
type Limbs = Zeroizing<Vec<u64>>;

/// The password, hidden by the nonce and encrypted. None if the key is none that can be used here, or the password is too long for it.
pub(super) fn encrypt(pem: &[u8], password: &[u8], nonce: &[u8], seed: [u8; HASH_BYTES]) -> Option<Vec<u8>> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let modulus = modulus(&key)?;
    (nonce.len() == 20).then_some(())?;
    let hidden: Vec<u8> = password
        .iter()
        .chain(&[0])
        .zip(nonce.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let padded = padded(&Zeroizing::new(hidden), modulus.len(), seed)?;
    Some(raised(&padded, modulus))
}

/// Of a key of the usual form.
fn modulus(key: &[u8]) -> Option<&[u8]> {
    let (outer, _) = field(key, 0x30)?;
    let (_algorithm, rest) = field(outer, 0x30)?;
    let (bits, _) = field(rest, 0x03)?;
    let (numbers, _) = field(bits.strip_prefix(&[0])?, 0x30)?;
    let (modulus, rest) = field(numbers, 0x02)?;
    let (exponent, _) = field(rest, 0x02)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let is_odd = modulus.last().is_some_and(|last| last % 2 == 1);
    let usable = KEY_BYTES.contains(&modulus.len()) && modulus.len() % 8 == 0 && modulus[0] >= 0x80;
    (usable && is_odd && exponent == EXPONENT).then_some(modulus)
}

/// The content of a DER field with this tag, and what comes after it.
fn field(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ([found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        short @ ..=0x7F => (usize::from(*short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| *found == tag)
}

fn padded(message: &[u8], length: usize, seed: [u8; HASH_BYTES]) -> Option<Zeroizing<Vec<u8>>> {
    let block = length - 1 - HASH_BYTES;
    let zeros = block.checked_sub(HASH_BYTES + 1 + message.len())?;
    let mut data = Zeroizing::new(Vec::with_capacity(block));
    data.extend(Sha1::digest([]));
    data.extend(std::iter::repeat_n(0, zeros));
    data.push(1);
    data.extend_from_slice(message);
    mask(&mut data, &seed);
    let mut masked_seed = seed;
    mask(&mut masked_seed, &data);
    Some(Zeroizing::new([[0].as_slice(), &masked_seed, &data].concat()))
}

/// MGF1.
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (number, chunk) in (0_u32..).zip(bytes.chunks_mut(HASH_BYTES)) {
        let pad = Sha1::new()
            .chain_update(seed)
            .chain_update(number.to_be_bytes())
            .finalize();
        chunk.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
    }
}

/// To the power of 65537, by Montgomery's products: sixteen squares and the base once more.
fn raised(base: &[u8], modulus: &[u8]) -> Vec<u8> {
    let (base, modulus) = (limbs(base), limbs(modulus));
    let mut power = base.clone();
    for _ in 0..modulus.len() * 64 {
        double(&mut power, &modulus);
    }
    for _ in 0..16 {
        power = product(&power, &power, &modulus);
    }
    let power = product(&power, &base, &modulus);
    power.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
}

fn limbs(bytes: &[u8]) -> Limbs {
    let chunks = bytes.rchunks(8);
    Zeroizing::new(
        chunks
            .map(|chunk| chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte)))
            .collect(),
    )
}

fn double(number: &mut [u64], modulus: &[u64]) {
    let mut carry = 0;
    for limb in &mut *number {
        (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
    }
    reduce(number, carry, modulus);
}

/// Less than twice the modulus before, less than it after.
fn reduce(number: &mut [u64], high: u64, modulus: &[u64]) {
    if high == 0 && number.iter().rev().lt(modulus.iter().rev()) {
        return;
    }
    let mut borrow = false;
    for (limb, taken) in number.iter_mut().zip(modulus) {
        (*limb, borrow) = limb.borrowing_sub(*taken, borrow);
    }
}

/// `left * right / 2^(64 * length)`, modulo an odd number.
fn product(left: &[u64], right: &[u64], modulus: &[u64]) -> Limbs {
    // Newton: each step doubles the bits that are right.
    let inverse = (0..6).fold(1_u64, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(modulus[0].wrapping_mul(inverse)))
    });
    let length = modulus.len();
    let mut sum = Zeroizing::new(vec![0; length + 2]);
    for digit in right {
        add_product(&mut sum, left, *digit);
        let digit = sum[0].wrapping_mul(inverse.wrapping_neg());
        add_product(&mut sum, modulus, digit);
        sum.copy_within(1.., 0);
        sum[length + 1] = 0;
    }
    let high = sum[length];
    sum.truncate(length);
    reduce(&mut sum, high, modulus);
    sum
}

fn add_product(sum: &mut [u64], number: &[u64], digit: u64) {
    let mut carry = 0;
    for (at, limb) in number.iter().enumerate() {
        (sum[at], carry) = limb.carrying_mul_add(digit, carry, sum[at]);
    }
    for limb in &mut sum[number.len()..] {
        let (added, over) = limb.overflowing_add(carry);
        (*limb, carry) = (added, u64::from(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL: `openssl genrsa 2048`, and what its own `pkeyutl` opens again.
    const KEY: &str = include_str!("rsa/key.pem");

    #[test]
    fn what_is_encrypted_is_what_another_library_encrypts() {
        let made = encrypt(KEY.as_bytes(), b"a password", &[7; 20], [9; 20]).unwrap();
        let expected: Vec<u8> = include_str!("rsa/encrypted.hex")
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(made, expected);
    }

    #[test]
    fn a_key_that_is_cut_or_of_another_kind_and_a_password_that_is_too_long_are_refused() {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let whole = modulus(&key).unwrap().len();
        assert_eq!(whole, 256);
        for cut in 0..key.len() {
            assert!(modulus(&key[..cut]).is_none(), "{cut}");
        }
        let encrypts = |length| encrypt(KEY.as_bytes(), &vec![b'x'; length], &[1; 20], [0; 20]).is_some();
        assert!(encrypts(whole - 2 * HASH_BYTES - 3) && !encrypts(whole - 2 * HASH_BYTES - 2));
        assert!(encrypt(b"no key", b"x", &[1; 20], [0; 20]).is_none());
    }
}
