use serde_json::Value;

use super::{is_configured, merged, parse_slots};
use crate::call::Piece;
use crate::reader::{Fields, Problems};
use crate::template::Slot;

/// What a declared statement may begin with. A statement that reads (`SELECT`, `WITH`, `VALUES`) answers a question about the
/// secret by its row count; `DO`, `COPY` and their like run text.
const VERBS: [&str; 13] = [
    "ALTER", "CALL", "CREATE", "DELETE", "DROP", "EXEC", "GRANT", "INSERT", "MERGE", "RENAME", "REVOKE",
    "SET", "UPDATE",
];

/// `[[sql]]`: one statement. Text is compared byte for byte, without the white space at both ends; what comes from the
/// configuration stands in it as a quoted identifier or a quoted literal, never as text.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlShape {
    pub(crate) dialect: String,
    pub(crate) slots: Vec<Slot>,
}

impl SqlShape {
    /// `postgres`.
    pub fn dialect(&self) -> &str {
        &self.dialect
    }

    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let dialect = fields.required_text("dialect", problems).map(str::to_owned);
        let path = fields.path("text");
        let text = fields.required_text("text", problems)?;
        let slots = trimmed(parse_slots(text, path.clone(), problems)?);
        for message in check(&slots) {
            problems.add(path.clone(), message);
        }
        Some(Self {
            dialect: dialect?,
            slots,
        })
    }

    pub(super) fn fits(&self, dialect: &str, pieces: &[Piece], configuration: &Value) -> bool {
        let pieces = trimmed_pieces(pieces);
        let fits = |(slot, piece): (&Slot, &Piece)| match (slot, piece) {
            (Slot::Text(declared), Piece::Text(sent)) => declared.as_bytes() == sent.as_slice(),
            (Slot::Value(pointer), Piece::Literal(text))
            | (Slot::Identifier(pointer), Piece::Identifier(text)) => {
                is_configured(text, pointer, configuration)
            }
            (Slot::AnyText, Piece::Literal(_)) => true,
            (Slot::Secret(pattern), Piece::Secret(used)) => pattern.fits(used),
            _ => false,
        };
        self.dialect == dialect
            && self.slots.len() == pieces.len()
            && self.slots.iter().zip(&pieces).all(fits)
    }
}

/// The pieces without white space at both ends of the statement.
fn trimmed_pieces(pieces: &[Piece]) -> Vec<Piece> {
    let mut pieces = merged(pieces);
    if let Some(Piece::Text(text)) = pieces.first_mut() {
        *text = text.trim_ascii_start().to_vec();
    }
    if let Some(Piece::Text(text)) = pieces.last_mut() {
        *text = text.trim_ascii_end().to_vec();
    }
    pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
    pieces
}

fn trimmed(mut slots: Vec<Slot>) -> Vec<Slot> {
    if let Some(Slot::Text(text)) = slots.first_mut() {
        *text = text.trim_ascii_start().to_owned();
    }
    if let Some(Slot::Text(text)) = slots.last_mut() {
        *text = text.trim_ascii_end().to_owned();
    }
    slots.retain(|slot| !matches!(slot, Slot::Text(text) if text.is_empty()));
    slots
}

/// What could make a declared text mean something else once the pieces are quoted into it.
fn check(slots: &[Slot]) -> Vec<String> {
    let mut messages = Vec::new();
    let verb = match slots.first() {
        Some(Slot::Text(text)) => text.split_ascii_whitespace().next().unwrap_or_default(),
        _ => "",
    };
    if !VERBS.contains(&verb) {
        messages.push(format!(
            "a declared statement begins with one of {}, in capitals; others run read-only and undeclared",
            VERBS.join(", ")
        ));
    }
    for (at, slot) in slots.iter().enumerate() {
        let Slot::Text(text) = slot else {
            if *slot == Slot::AnyJson {
                messages.push("`{any}` stands in HTTP bodies only".to_owned());
            }
            if at > 0 && !matches!(slots[at - 1], Slot::Text(_)) {
                messages.push("two pieces stand side by side without text between them".to_owned());
            }
            continue;
        };
        if let Err(message) = check_text(text) {
            messages.push(message);
        }
        // `E`, `N`, `U&`, a quote: what touches a quoted piece changes how it is read.
        let after = at == 0 || text.starts_with([' ', '\n', ')', ',', '.', '@']);
        let before = at + 1 == slots.len() || text.ends_with([' ', '\n', '(', ',', '=', '.', '@']);
        if !after || !before {
            messages.push(format!(
                "{text:?} touches a piece: leave a space beside the braces"
            ));
        }
    }
    messages
}

/// One statement, no comment, every quote closed in the same text.
fn check_text(text: &str) -> Result<(), String> {
    let mut open: Option<char> = None;
    let mut before = ' ';
    for character in text.chars() {
        match open {
            Some(quote) if character == quote => open = None,
            Some(_) if character == '\\' => {
                return Err("a backslash means something else in each server: leave it out".to_owned());
            }
            Some(_) => {}
            None => match character {
                '\'' | '"' | '`' => open = Some(character),
                ';' => return Err("one statement a shape: `;` is not allowed".to_owned()),
                '$' | '\\' | '#' | '\0' => {
                    return Err(format!("{character:?} is not allowed outside quotes"));
                }
                '-' if before == '-' => return Err("comments are not allowed".to_owned()),
                '*' if before == '/' => return Err("comments are not allowed".to_owned()),
                _ => {}
            },
        }
        before = character;
    }
    match open {
        Some(quote) => Err(format!(
            "the quote {quote} is not closed before the next piece; the host quotes pieces itself"
        )),
        None => Ok(()),
    }
}
