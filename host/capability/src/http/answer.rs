//! What is taken out of an answer, and what of it is shown.

use std::ops::Range;

use keywheel_manifest::Pointer;
use keywheel_model::SecretBytes;
use keywheel_target::http::Answer;
use serde_json::{Map, Value};

use super::places::{Selector, check_selector, form_pairs};
use super::xml::Xml;
use crate::json;

/// Stands where a captured value stood.
const CAPTURED: &str = "[captured]";
/// Never shown: they are credentials, or they tell of what is not shown (rule H5).
const NEVER: [&str; 15] = [
    "authentication-info",
    "authorization",
    "content-digest",
    "content-length",
    "content-md5",
    "cookie",
    "digest",
    "etag",
    "proxy-authenticate",
    "proxy-authentication-info",
    "repr-digest",
    "set-cookie",
    "set-cookie2",
    "transfer-encoding",
    "www-authenticate",
];

/// An answer that is being taken apart.
pub(super) struct Parts<'a> {
    answer: &'a Answer,
    /// The values of the body, where it is a document in which no name stands twice.
    nodes: Option<Vec<json::Node>>,
    /// The elements of the body, where it is XML.
    xml: Option<Xml<'a>>,
    /// What was taken out of the body.
    taken: Vec<Range<usize>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(answer: &'a Answer) -> Self {
        let body = answer.body.expose();
        let is_xml = body.trim_ascii_start().starts_with(b"<");
        Self {
            answer,
            nodes: json::scan(body),
            xml: is_xml.then(|| Xml::read(body)).flatten(),
            taken: Vec::new(),
        }
    }

    /// The one value that a selector means; none if there is none, if it is empty, or if there are several.
    pub(super) fn take(&mut self, selector: &Selector) -> Option<SecretBytes> {
        let body = self.answer.body.expose();
        let value = match selector {
            Selector::Body => {
                self.taken.push(0..body.len());
                SecretBytes::copy_of(body)
            }
            Selector::Header(name) => {
                let mut values = self.answer.headers.iter().filter(|(found, _)| found == name);
                match (values.next(), values.next()) {
                    (Some((_, value)), None) => value.duplicate(),
                    _ => return None,
                }
            }
            Selector::Json(pointer) => {
                let mut found = self.nodes.iter().flatten();
                let node = found.find(|node| node.string && node.pointer == *pointer)?;
                self.taken.push(node.span.clone());
                json::unescaped(&body[node.span.clone()])?
            }
            Selector::Xml(path) => {
                let value = self.xml.as_mut()?.take(path)?;
                self.taken.push(0..body.len());
                value
            }
            Selector::Form(name) => {
                let pairs = form_pairs(body)?;
                let mut values = pairs.into_iter().filter(|(found, _)| found == name);
                let (Some((_, value)), None) = (values.next(), values.next()) else {
                    return None;
                };
                self.taken.push(0..body.len());
                SecretBytes::new(value.into_bytes())
            }
        };
        (!value.expose().is_empty()).then_some(value)
    }

    /// Whether this text stands at a place of the body, which is named as a selector names it.
    pub(super) fn says(&self, at: &str, text: &str) -> bool {
        let body = self.answer.body.expose();
        match check_selector(at) {
            Ok(Selector::Json(pointer)) => {
                let mut found = self.nodes.iter().flatten();
                let node = found.find(|node| node.string && node.pointer == pointer);
                let value = node.and_then(|node| json::unescaped(&body[node.span.clone()]));
                value.is_some_and(|value| value.expose() == text.as_bytes())
            }
            Ok(Selector::Xml(path)) => self
                .xml
                .as_ref()
                .is_some_and(|xml| xml.text_at(&path) == Some(text)),
            _ => false,
        }
    }

    /// The body without what was taken out of it. Where that cannot be cut out cleanly, nothing is left.
    fn left(&self) -> Vec<u8> {
        let body = self.answer.body.expose();
        let mut taken = self.taken.clone();
        taken.sort_by_key(|span| span.start);
        let (mut left, mut from) = (Vec::new(), 0);
        for span in taken {
            if span == (0..body.len()) {
                return CAPTURED.as_bytes().to_vec();
            }
            if span.start >= from {
                left.extend_from_slice(&body[from..span.start]);
                left.extend_from_slice(format!("\"{CAPTURED}\"").as_bytes());
                from = span.end;
            }
        }
        left.extend_from_slice(&body[from..]);
        left
    }

    /// All of the body.
    pub(super) fn whole(&self) -> Vec<u8> {
        self.left()
    }

    /// These fields of the body alone, as a JSON document, of XML too; nothing of what is neither.
    pub(super) fn shown(&self, fields: &[Pointer]) -> Vec<u8> {
        let fields: Vec<Vec<String>> = fields.iter().map(segments).collect();
        let fields: Vec<&[String]> = fields.iter().map(Vec::as_slice).collect();
        let shown = match (&self.nodes, &self.xml) {
            _ if fields.is_empty() => None,
            (Some(_), _) => serde_json::from_slice::<Value>(&self.left())
                .ok()
                .and_then(|value| projected(&value, &fields)),
            (None, Some(xml)) => xml.shown(&fields, CAPTURED),
            (None, None) => None,
        };
        shown.map_or_else(Vec::new, |shown| shown.to_string().into_bytes())
    }

    /// The headers of these names; `None`: all that may be shown.
    pub(super) fn headers(&self, names: Option<&[String]>) -> Vec<(String, String)> {
        let shown =
            |name: &String| !NEVER.contains(&name.as_str()) && names.is_none_or(|names| names.contains(name));
        let headers = self.answer.headers.iter().filter(|(name, _)| shown(name));
        headers
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value.expose()).into_owned()))
            .collect()
    }
}

/// The names on the way, unescaped (RFC 6901).
fn segments(pointer: &Pointer) -> Vec<String> {
    let parts = pointer.as_str().split('/').skip(1);
    parts
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// What of a value the fields name; `*` is each element of an array. Elements of which nothing is shown are left out.
fn projected(value: &Value, fields: &[&[String]]) -> Option<Value> {
    if fields.iter().any(|rest| rest.is_empty()) {
        return Some(value.clone());
    }
    let inner = |name: &str| -> Vec<&[String]> {
        let goes_on = fields.iter().filter(|rest| rest[0] == name);
        goes_on.map(|rest| &rest[1..]).collect()
    };
    match value {
        Value::Object(map) => {
            let shown = map.iter().filter_map(|(name, value)| {
                let fields = inner(name);
                let shown = (!fields.is_empty())
                    .then(|| projected(value, &fields))
                    .flatten()?;
                Some((name.clone(), shown))
            });
            let shown: Map<String, Value> = shown.collect();
            (!shown.is_empty()).then_some(Value::Object(shown))
        }
        Value::Array(items) => {
            let fields = inner("*");
            let shown: Vec<Value> = items.iter().filter_map(|item| projected(item, &fields)).collect();
            (!fields.is_empty()).then_some(Value::Array(shown))
        }
        _ => None,
    }
}

/// Every text of a document, one by one, for the mask: what is written in an unusual way is found too.
pub(super) fn texts(body: &[u8]) -> Vec<String> {
    fn collect(value: Value, texts: &mut Vec<String>) {
        match value {
            Value::String(text) => texts.push(text),
            Value::Array(items) => items.into_iter().for_each(|item| collect(item, texts)),
            Value::Object(map) => {
                for (name, value) in map {
                    texts.push(name);
                    collect(value, texts);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice(body) {
        collect(value, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        let header = |name: &str, value: &str| (name.to_owned(), SecretBytes::copy_of(value.as_bytes()));
        Answer {
            status: 201,
            headers: vec![
                header("x-key", "one"),
                header("x-two", "a"),
                header("x-two", "b"),
                header("etag", "e"),
            ],
            body: SecretBytes::copy_of(body.as_bytes()),
        }
    }

    fn taken(body: &str, selector: Selector) -> Option<String> {
        let answer = answer(body);
        let value = Parts::of(&answer).take(&selector)?;
        Some(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    #[test]
    fn one_value_is_taken_and_no_doubtful_one() {
        let json = |pointer: &str| Selector::Json(pointer.to_owned());
        assert_eq!(
            taken(r#"{"a":{"k":"x\"y"}}"#, json("/a/k")).as_deref(),
            Some("x\"y")
        );
        for body in [
            r#"{"a":"k"}"#,
            r#"{"k":""}"#,
            r#"{"k":7}"#,
            r#"{"k":null}"#,
            r#"{"k":["x"]}"#,
            r#"{"k":"x","k":"y"}"#,
            r#"{"k":"x""#,
            "k=x",
            "",
        ] {
            assert_eq!(taken(body, json("/k")), None, "{body}");
        }
        assert_eq!(
            taken("", Selector::Header("x-key".into())).as_deref(),
            Some("one")
        );
        assert_eq!(taken("", Selector::Header("x-two".into())), None);
        assert_eq!(
            taken("a=1&k=x%20y", Selector::Form("k".into())).as_deref(),
            Some("x y")
        );
        assert_eq!(taken("k=1&k=2", Selector::Form("k".into())), None);
        assert_eq!(taken("all of it", Selector::Body).as_deref(), Some("all of it"));
    }

    #[test]
    fn only_what_is_named_is_shown() {
        let answer = answer(
            r#"{"api_key":"SG.x","id":"1","scopes":["a","b"],"result":[{"id":1,"key":"x"},{"key":"y"}],"o":{"i":{"j":1}}}"#,
        );
        let mut parts = Parts::of(&answer);
        let shown = |parts: &Parts<'_>, fields: &[&str]| {
            let fields: Vec<Pointer> = fields.iter().map(|field| field.parse().unwrap()).collect();
            String::from_utf8(parts.shown(&fields)).unwrap()
        };
        let fields = ["/id", "/scopes/*", "/result/*/id", "/o/i", "/none"];
        let expected = r#"{"id":"1","scopes":["a","b"],"result":[{"id":1}],"o":{"i":{"j":1}}}"#;
        assert_eq!(shown(&parts, &fields), expected);
        assert_eq!(shown(&parts, &["/api_key"]), r#"{"api_key":"SG.x"}"#);
        parts.take(&Selector::Json("/api_key".into())).unwrap();
        assert_eq!(shown(&parts, &["/api_key"]), r#"{"api_key":"[captured]"}"#);
        assert!(!String::from_utf8(parts.whole()).unwrap().contains("SG.x"));
        assert_eq!(shown(&parts, &[]), "");
    }

    #[test]
    fn headers_that_are_never_shown_are_not() {
        let answer = answer("");
        let parts = Parts::of(&answer);
        assert_eq!(parts.headers(None).len(), 3);
        assert_eq!(
            parts.headers(Some(&["etag".to_owned(), "x-key".to_owned()])),
            [("x-key".into(), "one".into())]
        );
    }
}
