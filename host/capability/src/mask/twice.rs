use super::{forms, holds, is_weak};
use crate::json;

/// Stands for a place whose name itself holds the value.
const UNNAMED: &str = "/…";

/// The strings of a JSON document that hold what stands at a place of `of`, an older version of it or the same: as it is or in a usual encoding. The
/// place itself is not one of them. By their JSON pointers.
///
/// A value that texts hold by chance counts where a string is that and nothing else, or has it where a URL has its password.
pub fn copies(document: &[u8], part: &str, of: &[u8]) -> Vec<String> {
    let (Some(value), Some(nodes)) = (json::string_at(of, part), json::scan(document)) else {
        return Vec::new();
    };
    let value = value.expose();
    let patterns = if is_weak(value) {
        forms::of(&[b":", value, b"@"].concat())
    } else {
        forms::of(value)
    };
    let holds_it = |text: &[u8]| text == value || patterns.iter().any(|form| holds(text, form));
    let others = nodes
        .into_iter()
        .filter(|node| node.string && node.pointer != part);
    others
        .filter(|node| {
            json::unescaped(&document[node.span.clone()]).is_some_and(|text| holds_it(text.expose()))
        })
        .map(|node| {
            // As in RFC 6901: a slash of the name is `~1` in the pointer.
            let names = node.pointer.replace("~1", "/").replace("~0", "~");
            if holds_it(node.pointer.as_bytes()) || holds_it(names.as_bytes()) {
                UNNAMED.to_owned()
            } else {
                node.pointer
            }
        })
        .collect()
}

/// The first name of a JSON document that stands twice in its object, by its JSON pointer. It is as it stands there, and may be a secret.
pub fn doubled(document: &[u8]) -> Option<String> {
    json::doubled(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = "/password";

    fn found(members: &str, password: &str) -> Vec<String> {
        let document = format!("{{\"username\":\"app_a\",\"password\":\"{password}\",{members}}}");
        copies(document.as_bytes(), PART, document.as_bytes())
    }

    #[test]
    fn a_second_place_is_found_as_it_is_and_encoded_and_named_without_the_value() {
        let password = "x9Q/kz2w+Pq7";
        for copy in [
            "x9Q/kz2w+Pq7",
            "host=db password=x9Q/kz2w+Pq7 user=app_a",
            "postgres://app_a:x9Q%2Fkz2w%2BPq7@db/x",
            "eDlRL2t6MncrUHE3",
            "Basic YXBwX2E6eDlRL2t6MncrUHE3",
        ] {
            let members = format!("\"host\":\"db\",\"more\":[{{\"a/b\":\"{copy}\"}}]");
            assert_eq!(found(&members, password), ["/more/0/a~1b"], "{copy}");
        }
        assert_eq!(
            found(&format!("\"{password}\":\"{password}\""), password),
            [UNNAMED]
        );
        assert!(found("\"host\":\"db\",\"port\":5432", password).is_empty());
    }

    #[test]
    fn a_value_that_stands_in_texts_by_chance_is_found_where_a_url_has_its_password() {
        assert!(found("\"url\":\"postgres://shop@db/shop\"", "shop").is_empty());
        assert_eq!(
            found("\"url\":\"postgres://shop:shop@db/shop\"", "shop"),
            ["/url"]
        );
        assert_eq!(found("\"again\":\"shop\"", "shop"), ["/again"]);
    }

    #[test]
    fn the_value_of_an_older_version_is_found_and_what_is_no_document_has_none() {
        let old = br#"{"password":"x9Qkz2wPq7"}"#;
        let new = br#"{"password":"another-one-1","dsn":"app:x9Qkz2wPq7@db"}"#;
        assert_eq!(copies(new, PART, old), ["/dsn"]);
        assert!(copies(new, PART, new).is_empty());
        assert!(copies(b"x9Qkz2wPq7", PART, old).is_empty());
        assert!(copies(new, PART, b"x9Qkz2wPq7").is_empty());
    }
}
