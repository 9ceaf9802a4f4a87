use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::MIN_SCANNED_BYTES;

/// Longer values are looked for by windows, so that the work does not grow with them.
const LONG_BYTES: usize = 256;
const WINDOW_BYTES: usize = 64;
/// Whatever part of a long value comes back, if it is this long it holds a whole window.
const STRIDE_BYTES: usize = 256;

/// The usual encodings of a value, each once.
pub(super) fn of(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = BTreeSet::new();
    if value.len() <= LONG_BYTES {
        forms_of(value, &mut forms);
    } else {
        for window in value.windows(WINDOW_BYTES).step_by(STRIDE_BYTES) {
            forms_of(window, &mut forms);
        }
        forms_of(&value[value.len() - WINDOW_BYTES..], &mut forms);
    }
    forms
        .into_iter()
        .filter(|form| form.len() >= MIN_SCANNED_BYTES)
        .collect()
}

fn forms_of(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(value.to_vec());
    forms.insert(value.iter().rev().copied().collect());
    forms.insert(hex(value, b"0123456789abcdef", b""));
    forms.insert(hex(value, b"0123456789ABCDEF", b""));
    for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
        forms.insert(hex(value, digits, b"%"));
        forms.insert(percent(value, digits, false));
        forms.insert(percent(value, digits, true));
    }
    for shift in 0..3 {
        forms.insert(base64(value, shift, |bytes| STANDARD_NO_PAD.encode(bytes)));
        forms.insert(base64(value, shift, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        forms.insert(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        forms.insert(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        forms.insert(text.chars().rev().collect::<String>().into_bytes());
        for (slash, html) in [(false, false), (true, false), (false, true), (true, true)] {
            forms.insert(json(text, slash, html).into_bytes());
        }
        for (apostrophe, quotes) in [("&apos;", true), ("&#39;", true), ("'", true), ("'", false)] {
            forms.insert(xml(text, apostrophe, quotes).into_bytes());
        }
    }
}

fn hex(value: &[u8], digits: &[u8; 16], before: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(value.len() * (2 + before.len()));
    for byte in value {
        form.extend_from_slice(before);
        form.push(digits[usize::from(byte >> 4)]);
        form.push(digits[usize::from(byte & 15)]);
    }
    form
}

fn percent(value: &[u8], digits: &[u8; 16], plus: bool) -> Vec<u8> {
    let mut form = Vec::with_capacity(value.len() * 3);
    for byte in value {
        match byte {
            b' ' if plus => form.push(b'+'),
            b'-' | b'.' | b'_' | b'~' => form.push(*byte),
            _ if byte.is_ascii_alphanumeric() => form.push(*byte),
            _ => form.extend_from_slice(&hex(&[*byte], digits, b"%")),
        }
    }
    form
}

/// The characters that depend on the value alone when `shift` bytes of something else stand before it in the same group.
fn base64(value: &[u8], shift: usize, encode: impl Fn(Vec<u8>) -> String) -> Vec<u8> {
    let padded = [&vec![0; shift], value].concat();
    let bits = padded.len() * 8;
    let text = encode(padded).into_bytes();
    text.get((shift * 8).div_ceil(6)..bits / 6)
        .unwrap_or_default()
        .to_vec()
}

/// Inside of a string: the escapes that must be, with `\/` and `\u003c` where encoders differ.
fn json(text: &str, slash: bool, html: bool) -> String {
    let mut form = serde_json::to_string(text).unwrap_or_default();
    form.pop();
    form = form.split_off(form.len().min(1));
    if slash {
        form = form.replace('/', "\\/");
    }
    if html {
        form = form
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\'', "\\u0027");
    }
    form
}

fn xml(text: &str, apostrophe: &str, quotes: bool) -> String {
    let form = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', apostrophe);
    if quotes { form.replace('"', "&quot;") } else { form }
}
