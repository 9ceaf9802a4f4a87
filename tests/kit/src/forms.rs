//! How a value may be written by whoever lets it out: plain, and in the encodings that programs, servers and formats use.
//!
//! Written apart from the host's own list (`keywheel_capability`), so that a form that is missing there is missed here only by a second mistake.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is shorter stands anywhere by chance.
pub(crate) const LEAST: usize = 8;
/// A value of twice that length is known by its first or its last so many bytes, too: a text that was cut somewhere shows one of them.
const PART: usize = 16;

/// The names of what [`of_bytes`] gives.
type Names = [&'static str; 6];

const WHOLE: Names = [
    "hex",
    "hex list",
    "hex dump",
    "number list",
    "base64",
    "base64url",
];
const FIRST: Names = [
    "its first part in hex",
    "its first part as a hex list",
    "its first part as a hex dump",
    "its first part as a number list",
    "its first part in base64",
    "its first part in base64url",
];
const LAST: Names = [
    "its last part in hex",
    "its last part as a hex list",
    "its last part as a hex dump",
    "its last part as a number list",
    "its last part in base64",
    "its last part in base64url",
];

/// The forms of a value, with their names.
///
/// # Panics
/// When the value is too short to be looked for.
pub(crate) fn of(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    assert!(value.len() >= LEAST, "too short to be looked for");
    let mut forms = vec![
        ("plain", value.to_vec()),
        ("reversed", value.iter().rev().copied().collect()),
        ("every byte percent", hex(value, "%", false)),
        ("every byte percent", hex(value, "%", true)),
        ("every byte escaped", hex(value, "\\x", false)),
        ("bytes of Rust", value.escape_ascii().to_string().into_bytes()),
    ];
    for upper in [false, true] {
        forms.push(("percent", percent(value, upper, "%20")));
        forms.push(("percent", percent(value, upper, "+")));
    }
    forms.extend(of_bytes(value, WHOLE));
    if value.len() >= 2 * PART {
        let (first, last) = (&value[..PART], &value[value.len() - PART..]);
        forms.push(("its first part", first.to_vec()));
        forms.push(("its last part", last.to_vec()));
        forms.extend(of_bytes(first, FIRST));
        forms.extend(of_bytes(last, LAST));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        forms.extend(of_text(text));
    }
    forms
}

/// What programs write of any bytes: the forms that a value which was cut is looked for in, too.
fn of_bytes(value: &[u8], names: Names) -> Vec<(&'static str, Vec<u8>)> {
    let [digits, list, dump, numbers, base64_name, base64url_name] = names;
    let mut forms = vec![
        (digits, hex(value, "", false)),
        (digits, hex(value, "", true)),
        (list, joined(value, ", ", |byte| format!("{byte:02x}"))),
        (list, joined(value, ", ", |byte| format!("{byte:x}"))),
        (dump, joined(value, " ", |byte| format!("{byte:02x}"))),
        (numbers, joined(value, ", ", u8::to_string)),
        (numbers, joined(value, ",", u8::to_string)),
    ];
    for shift in 0..3 {
        let standard = base64(value, shift, |bytes| STANDARD_NO_PAD.encode(bytes));
        let url = base64(value, shift, |bytes| URL_SAFE_NO_PAD.encode(bytes));
        forms.extend([(base64_name, standard), (base64url_name, url)]);
    }
    forms
}

fn of_text(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let json = |text: &str| {
        let quoted = serde_json::Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let html = |text: String| {
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    };
    let once = json(text);
    let xml = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let quoted_xml = xml.replace('"', "&quot;").replace('\'', "&#39;");
    let forms = [
        ("reversed", text.chars().rev().collect()),
        ("JSON", once.replace('/', "\\/")),
        ("JSON", html(once.clone())),
        ("JSON in JSON", json(&once)),
        ("JSON", once),
        ("XML", xml),
        ("XML", quoted_xml),
        ("debug", text.escape_debug().to_string()),
        ("debug", text.escape_default().to_string()),
        ("SQL", text.replace('\'', "''")),
        ("C", text.replace('\\', "\\\\").replace('\'', "\\'")),
        ("shell", text.replace('\'', "'\\''")),
        ("capitals", text.to_uppercase()),
        ("small letters", text.to_lowercase()),
    ];
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    let mut forms: Vec<_> = forms
        .into_iter()
        .map(|(name, form)| (name, form.into_bytes()))
        .collect();
    forms.push(("UTF-16", utf16(u16::to_le_bytes)));
    forms.push(("UTF-16", utf16(u16::to_be_bytes)));
    forms
}

fn joined(value: &[u8], between: &str, write: impl Fn(&u8) -> String) -> Vec<u8> {
    value
        .iter()
        .map(write)
        .collect::<Vec<_>>()
        .join(between)
        .into_bytes()
}

fn hex(value: &[u8], before: &str, upper: bool) -> Vec<u8> {
    let mut form = String::new();
    for byte in value {
        // Writing to a string cannot fail.
        let _ = if upper {
            write!(form, "{before}{byte:02X}")
        } else {
            write!(form, "{before}{byte:02x}")
        };
    }
    form.into_bytes()
}

fn percent(value: &[u8], upper: bool, space: &str) -> Vec<u8> {
    let mut form = Vec::new();
    for byte in value {
        match byte {
            b' ' => form.extend_from_slice(space.as_bytes()),
            b'-' | b'.' | b'_' | b'~' => form.push(*byte),
            _ if byte.is_ascii_alphanumeric() => form.push(*byte),
            _ => form.extend(hex(&[*byte], "%", upper)),
        }
    }
    form
}

/// The digits that stand for the value alone when `shift` bytes of something else are before it in the same group, and anything behind it:
/// so padding does not matter either.
fn base64(value: &[u8], shift: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let padded = [&vec![0; shift], value].concat();
    let whole = padded.len() / 3 * 3;
    let text = encode(&padded[..whole]).into_bytes();
    text[if shift == 0 { 0 } else { 4 }..].to_vec()
}
