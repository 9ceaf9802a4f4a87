//! `host:port,host:port,key=value`: StackExchange.Redis ("Configuration"). It has no quoting.

use super::Quoting;
use crate::Pair;

pub(super) fn read(text: &str) -> Result<Vec<Pair>, usize> {
    let mut pairs = Vec::new();
    let mut from = 0;
    for piece in text.split(',') {
        if let Some(equals) = piece.find('=') {
            let key = piece[..equals].trim();
            if key.is_empty() {
                return Err(from);
            }
            let value = piece[equals + 1..].trim();
            let begin = from + piece.len() - piece[equals + 1..].trim_start().len();
            pairs.push(Pair {
                key: key.to_owned(),
                value: begin..begin + value.len(),
                quoting: Quoting::Plain,
            });
        } else if piece.trim().is_empty() {
            return Err(from);
        }
        from += piece.len() + 1;
    }
    Ok(pairs)
}
