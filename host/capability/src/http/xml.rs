//! Answers in XML, by the names of their elements alone: no namespaces, no attributes, no document type, no entities but the five.

use keywheel_model::SecretBytes;
use roxmltree::{Document, Node, NodeId, ParsingOptions};
use serde_json::{Map, Value};

/// Elements and texts of a document, at most.
const MAX_NODES: u32 = 16 * 1024;

/// Signs of equality, of which each attribute has one, and declarations of namespaces: what a reader does with these grows faster than they do.
const MAX_EQUAL_SIGNS: usize = 4 * 1024;
const MAX_NAMESPACES: usize = 16;

/// An answer that may be taken apart.
pub(super) struct Xml<'a> {
    document: Document<'a>,
    /// The elements whose text was taken out.
    taken: Vec<NodeId>,
}

impl<'a> Xml<'a> {
    /// `None`: it is none, it has a document type, or it is too large.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let is_modest = text.bytes().filter(|byte| *byte == b'=').count() <= MAX_EQUAL_SIGNS
            && text.matches("xmlns").count() <= MAX_NAMESPACES;
        if !is_modest {
            return None;
        }
        let options = ParsingOptions {
            allow_dtd: false,
            nodes_limit: MAX_NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(text, options).ok()?;
        Some(Self {
            document,
            taken: Vec::new(),
        })
    }

    /// The text of the one element at a path; none where there are several, or elements in it.
    pub(super) fn text_at(&self, path: &[String]) -> Option<&str> {
        text_of(self.element_at(path)?)
    }

    /// The same, which is shown to nobody from here on.
    pub(super) fn take(&mut self, path: &[String]) -> Option<SecretBytes> {
        let element = self.element_at(path)?;
        let (id, value) = (element.id(), SecretBytes::copy_of(text_of(element)?.as_bytes()));
        self.taken.push(id);
        Some(value)
    }

    fn element_at(&self, path: &[String]) -> Option<Node<'_, 'a>> {
        path.iter()
            .try_fold(self.document.root(), |node, name| only(&named(node, name)))
    }

    /// The texts that the fields name, as a document: an element is an object, `*` behind a name makes a list of all that have it.
    pub(super) fn shown(&self, fields: &[&[String]], in_place: &str) -> Option<Value> {
        self.projected(self.document.root(), fields, in_place)
    }

    fn projected(&self, node: Node<'_, 'a>, fields: &[&[String]], in_place: &str) -> Option<Value> {
        if fields.iter().any(|rest| rest.is_empty()) {
            let text = text_of(node)?;
            let is_taken = self.taken.contains(&node.id());
            return Some(Value::String(if is_taken { in_place } else { text }.to_owned()));
        }
        let mut shown = Map::new();
        for name in fields.iter().map(|rest| &rest[0]) {
            if shown.contains_key(name) {
                continue;
            }
            let inner: Vec<&[String]> = fields
                .iter()
                .filter(|rest| &rest[0] == name)
                .map(|rest| &rest[1..])
                .collect();
            let listed: Vec<&[String]> = inner
                .iter()
                .filter_map(|rest| rest.strip_prefix(&["*".to_owned()]))
                .collect();
            let found = named(node, name);
            let value = if listed.is_empty() {
                only(&found).and_then(|one| self.projected(one, &inner, in_place))
            } else {
                let items = found
                    .iter()
                    .filter_map(|one| self.projected(*one, &listed, in_place));
                Some(Value::Array(items.collect()))
            };
            shown.extend(value.map(|value| (name.clone(), value)));
        }
        (!shown.is_empty()).then_some(Value::Object(shown))
    }
}

fn named<'d, 'a>(node: Node<'d, 'a>, name: &str) -> Vec<Node<'d, 'a>> {
    let elements = node.children().filter(Node::is_element);
    elements
        .filter(|element| element.tag_name().name() == name)
        .collect()
}

fn only<'d, 'a>(found: &[Node<'d, 'a>]) -> Option<Node<'d, 'a>> {
    match found {
        [one] => Some(*one),
        _ => None,
    }
}

fn text_of<'d>(element: Node<'d, '_>) -> Option<&'d str> {
    let mut children = element.children();
    match (children.next(), children.next()) {
        (None, _) => Some(""),
        (Some(only), None) if only.is_text() => only.text(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"<?xml version="1.0"?>
<List xmlns="https://iam.example/doc/"><Result><Cut>false</Cut><Keys>
  <member><Id>A1</Id><Status>Active</Status></member>
  <member><Id>A2</Id><Status>Inactive</Status></member>
</Keys><Key><Id>A3</Id><Secret>s&amp;t</Secret></Key></Result></List>"#;

    fn path(text: &str) -> Vec<String> {
        text.split('/').skip(1).map(str::to_owned).collect()
    }

    fn shown(xml: &Xml<'_>, fields: &[&str]) -> String {
        let fields: Vec<Vec<String>> = fields.iter().map(|field| path(field)).collect();
        let fields: Vec<&[String]> = fields.iter().map(Vec::as_slice).collect();
        xml.shown(&fields, "[captured]")
            .map_or_else(String::new, |value| value.to_string())
    }

    #[test]
    fn the_named_texts_are_shown_and_what_was_taken_is_not() {
        let mut xml = Xml::read(KEYS.as_bytes()).unwrap();
        let fields = [
            "/List/Result/Keys/member/*/Id",
            "/List/Result/Key/Secret",
            "/List/Result/Cut",
        ];
        assert_eq!(
            shown(&xml, &fields),
            r#"{"List":{"Result":{"Keys":{"member":[{"Id":"A1"},{"Id":"A2"}]},"Key":{"Secret":"s&t"},"Cut":"false"}}}"#
        );
        let secret = path("/List/Result/Key/Secret");
        assert_eq!(xml.take(&secret).unwrap().expose(), b"s&t");
        assert!(shown(&xml, &fields).contains(r#""Secret":"[captured]""#));
        assert_eq!(
            shown(&xml, &["/None", "/List/Result/None/*/Id"]),
            r#"{"List":{"Result":{"None":[]}}}"#
        );
    }

    #[test]
    fn a_path_means_one_element_with_a_text() {
        let xml = Xml::read(KEYS.as_bytes()).unwrap();
        assert_eq!(xml.text_at(&path("/List/Result/Key/Id")), Some("A3"));
        for doubtful in [
            "/List/Result/Keys/member/Id",
            "/List/Result/Key",
            "/List/None",
            "/Result/Cut",
        ] {
            assert_eq!(xml.text_at(&path(doubtful)), None, "{doubtful}");
        }
    }

    #[test]
    fn what_could_grow_or_reach_out_is_not_read() {
        let entity = r#"<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>"#;
        let outside = r#"<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>"#;
        let wide = format!("<a>{}</a>", "<b/>".repeat(MAX_NODES as usize));
        let deep = "<a>".repeat(300_000);
        let nested: String = (0..17).map(|at| format!("<a xmlns:p{at}=\"u\">")).collect();
        let nested = nested + &"</a>".repeat(17);
        let attributes: String = (0..=MAX_EQUAL_SIGNS).map(|at| format!(" a{at}=\"\"")).collect();
        let attributes = format!("<a{attributes}/>");
        for text in [
            entity,
            outside,
            "<a>&b;</a>",
            "<a>",
            "",
            "{}",
            &wide,
            &deep,
            &nested,
            &attributes,
        ] {
            assert!(
                Xml::read(text.as_bytes()).is_none(),
                "{:?}",
                &text[..text.len().min(40)]
            );
        }
        let deep = format!("{}x{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
        assert!(Xml::read(deep.as_bytes()).is_some_and(|xml| xml.text_at(&path("/a")).is_none()));
    }
}
