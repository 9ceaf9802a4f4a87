use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A JSON pointer (RFC 6901) into a configuration. One segment may be `*`: any element of that array.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(String);

/// A text that is no pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a JSON pointer: it begins with `/`, writes `~` as `~0` and `/` as `~1`, and has at most one `*`"
)]
pub struct ParsePointerError;

impl FromStr for Pointer {
    type Err = ParsePointerError;

    fn from_str(text: &str) -> Result<Self, ParsePointerError> {
        let mut tildes = text.split('~').skip(1);
        let escapes = tildes.all(|rest| rest.starts_with('0') || rest.starts_with('1'));
        let stars = text.split('/').filter(|segment| *segment == "*").count();
        let plain = text.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
        if !text.starts_with('/') || text.len() > 256 || !escapes || stars > 1 || !plain {
            return Err(ParsePointerError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pointer {
    /// The pointer as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before and after the `*`, where there is one.
    pub(crate) fn around_star(&self) -> Option<(&str, &str)> {
        if let Some(prefix) = self.0.strip_suffix("/*") {
            return Some((prefix, ""));
        }
        let at = self.0.find("/*/")?;
        Some((&self.0[..at], &self.0[at + 2..]))
    }

    fn with_index(&self, index: usize) -> String {
        match self.around_star() {
            Some((prefix, rest)) => format!("{prefix}/{index}{rest}"),
            None => self.0.clone(),
        }
    }

    /// Every value it points to: one or none, or one for each element with `*`.
    pub fn values<'v>(&self, document: &'v Value) -> Vec<&'v Value> {
        let Some((prefix, rest)) = self.around_star() else {
            return document.pointer(&self.0).into_iter().collect();
        };
        let elements = document.pointer(prefix).and_then(Value::as_array);
        elements
            .into_iter()
            .flatten()
            .filter_map(|element| element.pointer(rest))
            .collect()
    }

    /// The same as texts; values that are no scalar are left out.
    pub fn texts(&self, document: &Value) -> Vec<String> {
        self.values(document)
            .into_iter()
            .filter_map(scalar_text)
            .collect()
    }
}

/// The text of a string, an integer or a boolean; nothing else can stand in a call.
pub(crate) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// The values of several pointers, read together: pointers with the same `/prefix/*` walk one array in step, so
/// `["/nodes/*/host", "/nodes/*/port"]` gives one row for each node. A row with a missing or non-scalar value is left out.
pub fn expand(pointers: &[Pointer], document: &Value) -> Vec<Vec<String>> {
    let prefix = pointers
        .iter()
        .find_map(Pointer::around_star)
        .map(|(prefix, _)| prefix);
    let rows = match prefix {
        None => 1,
        Some(prefix) => document
            .pointer(prefix)
            .and_then(Value::as_array)
            .map_or(0, Vec::len),
    };
    let row = |index: usize| -> Option<Vec<String>> {
        pointers
            .iter()
            .map(|pointer| document.pointer(&pointer.with_index(index)).and_then(scalar_text))
            .collect()
    };
    (0..rows).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointer(text: &str) -> Pointer {
        text.parse().unwrap()
    }

    #[test]
    fn pointers_with_one_star_walk_an_array_in_step() {
        let document = json!({"nodes": [{"host": "a", "port": 1}, {"host": "b", "port": 2}, {"host": "c"}]});
        let rows = expand(&[pointer("/nodes/*/host"), pointer("/nodes/*/port")], &document);
        assert_eq!(rows, [["a", "1"], ["b", "2"]]);
    }

    #[test]
    fn a_value_that_is_no_scalar_has_no_text() {
        let document = json!({"a": [1], "b": 1.5, "c": null, "d": true});
        for missing in ["/a", "/b", "/c", "/e"] {
            assert!(pointer(missing).texts(&document).is_empty(), "{missing}");
        }
        assert_eq!(pointer("/d").texts(&document), ["true"]);
        assert_eq!(pointer("/a/*").texts(&document), ["1"]);
    }

    #[test]
    fn malformed_pointers_are_refused() {
        for bad in ["", "host", "/a~2", "/a~", "/*/*", "/a\n"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad:?}");
        }
    }
}
