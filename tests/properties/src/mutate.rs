//! Small damage to what is valid: what random input alone never reaches is one edit away from it.

use proptest::collection::vec;
use proptest::prelude::*;

/// One edit, at a place that is a share of the length.
#[derive(Clone, Debug)]
enum Edit {
    Remove { at: u16, length: u16 },
    Insert { at: u16, piece: Vec<u8> },
    Repeat { at: u16, length: u16, times: u8 },
    Put { at: u16, piece: Vec<u8> },
    Cut { at: u16 },
}

/// Pieces that mean something to one parser or another.
const PIECES: [&str; 34] = [
    "+",
    "A",
    "F",
    " ",
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "=",
    ".",
    ",",
    "\n",
    "\r\n",
    "\t",
    "#",
    "0",
    "-1",
    "99999999999999999999",
    "1e999",
    "nan",
    "true",
    "\u{feff}",
    "\u{202e}",
    "\u{1f600}",
    "é",
    "\0",
    "~",
    "/*",
    "\"\"\"",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..9),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<u16>(), 1..40_u16).prop_map(|(at, length)| Edit::Remove { at, length }),
        (any::<u16>(), piece()).prop_map(|(at, piece)| Edit::Insert { at, piece }),
        (any::<u16>(), 1..80_u16, 1..5_u8).prop_map(|(at, length, times)| Edit::Repeat { at, length, times }),
        (any::<u16>(), piece()).prop_map(|(at, piece)| Edit::Put { at, piece }),
        any::<u16>().prop_map(|at| Edit::Cut { at }),
    ]
}

fn place(at: u16, length: usize) -> usize {
    usize::from(at) * (length + 1) / (usize::from(u16::MAX) + 1)
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>) {
    match edit {
        Edit::Remove { at, length } => {
            let at = place(*at, bytes.len());
            let end = bytes.len().min(at + usize::from(*length));
            bytes.drain(at..end);
        }
        Edit::Insert { at, piece } => {
            let at = place(*at, bytes.len());
            bytes.splice(at..at, piece.iter().copied());
        }
        Edit::Repeat { at, length, times } => {
            let at = place(*at, bytes.len());
            let end = bytes.len().min(at + usize::from(*length));
            let piece = bytes[at..end].repeat(usize::from(*times));
            bytes.splice(end..end, piece);
        }
        Edit::Put { at, piece } => {
            let at = place(*at, bytes.len());
            let end = bytes.len().min(at + piece.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        Edit::Cut { at } => bytes.truncate(place(*at, bytes.len())),
    }
}

/// One of `valid`, with up to five edits.
pub fn edited_bytes(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (proptest::sample::select(valid), vec(edit(), 0..6)).prop_map(|(mut bytes, edits)| {
        for edit in &edits {
            apply(edit, &mut bytes);
        }
        bytes
    })
}

/// The same as text.
pub fn edited(valid: Vec<String>) -> impl Strategy<Value = String> {
    edited_bytes(valid.into_iter().map(String::into_bytes).collect())
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes with one bit turned: the bit at a share of their length.
pub fn flipped(bytes: &[u8], share: u16, bit: u8) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    if let Some(last) = bytes.len().checked_sub(1) {
        flipped[place(share, last)] ^= 1 << (bit % 8);
    }
    flipped
}
