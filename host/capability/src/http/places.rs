//! What may stand where in a request: names of headers, their values, selectors.

use keywheel_manifest::Pointer;

use crate::error::Error;

/// What the host writes itself, or what would change how its answer is framed, cut or read (rule H5); and what says that a request is another one than
/// its shape.
const HOSTS: [&str; 26] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "idempotency-key",
    "if-range",
    "keep-alive",
    "max-forwards",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-amz-date",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];
const PREFIXES: [&str; 2] = ["proxy-", "sec-"];

/// Most bytes of a name.
const NAME_BYTES: usize = 128;

/// RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(good)
}

/// Whether a method is one that a request can have.
pub(super) fn check_method(method: &str) -> Result<(), Error> {
    if ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"].contains(&method) {
        return Ok(());
    }
    Err(Error::invalid(
        "http.method",
        "a method is DELETE, GET, HEAD, PATCH, POST or PUT, in capitals",
    ))
}

/// Whether a plugin may set a header of this name.
pub(super) fn check_name_of_header(name: &str) -> Result<(), Error> {
    let small = name.to_ascii_lowercase();
    let is_hosts = HOSTS.contains(&small.as_str()) || PREFIXES.iter().any(|prefix| small.starts_with(prefix));
    if is_hosts {
        return Err(Error::invalid(
            "http.header",
            format!(
                "the header `{small}` is the host's: there is a function for it, or it is none for a plugin"
            ),
        ));
    }
    Ok(())
}

/// Whether name and value of a header cannot break out of it: nothing may become a line of its own.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), Error> {
    if !is_token(name) {
        let message = "the name of a header is letters, digits and !#$%&'*+-.^_`|~";
        return Err(Error::invalid("http.header", message));
    }
    if is_of_header(value.as_bytes()) {
        return Ok(());
    }
    let message =
        format!("the value of the header `{name}` is printable ASCII, spaces and tabs, with no line break");
    Err(Error::invalid("http.header", message))
}

/// Whether a header can carry it.
pub(super) fn is_of_header(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// What is taken out of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// A string of a JSON document.
    Json(String),
    /// The text of an element of an XML document: the names on the way to it.
    Xml(Vec<String>),
    /// A header, in small letters.
    Header(String),
    /// A field of a form.
    Form(String),
    /// All of it.
    Body,
}

/// By the words of a plugin.
pub(super) fn check_selector(text: &str) -> Result<Selector, Error> {
    let found = match text.split_once(':') {
        _ if text == "body" => Some(Selector::Body),
        _ if text.starts_with('/') => {
            let pointer = text.parse::<Pointer>().ok();
            let one = pointer.filter(|pointer| !pointer.as_str().split('/').any(|part| part == "*"));
            one.map(|pointer| Selector::Json(pointer.as_str().to_owned()))
        }
        Some(("xml", path)) => xml_path(path).map(Selector::Xml),
        Some(("header", name)) if is_token(name) => Some(Selector::Header(name.to_ascii_lowercase())),
        Some(("form", name)) if !name.is_empty() => Some(Selector::Form(name.to_owned())),
        _ => None,
    };
    found.ok_or_else(|| {
        let message = "a selector is a JSON pointer without `*`, `xml:/<element>/…`, `header:<name>`, `form:<name>` or `body`";
        Error::invalid("http.capture", message)
    })
}

/// The names of elements behind slashes.
fn xml_path(path: &str) -> Option<Vec<String>> {
    let names: Vec<String> = path.strip_prefix('/')?.split('/').map(str::to_owned).collect();
    let good = |name: &String| !name.is_empty() && name != "*" && !name.contains(char::is_whitespace);
    names.iter().all(good).then_some(names)
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn percent(value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.extend([
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}

/// Names and values of a form (`application/x-www-form-urlencoded`). `None`: it is none.
pub(super) fn form_pairs(text: &[u8]) -> Option<Vec<(String, String)>> {
    let text = std::str::from_utf8(text).ok()?;
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let code = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(code, 16).ok()?);
                rest = &after[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_become_two() {
        for value in ["a\r\nX: y", "a\ny", "a\ry", "a\0", "ä", "\u{7f}"] {
            assert!(check_header("x-note", value).is_err(), "{value:?}");
        }
        for name in ["", "x note", "x:y", "x\r\n", "ä", &"x".repeat(129)] {
            assert!(check_header(name, "v").is_err(), "{name:?}");
        }
        assert!(check_header("X-Note", "a b\tc").is_ok());
        for name in [
            "Host",
            "RANGE",
            "accept-encoding",
            "Proxy-Connection",
            "X-HTTP-Method-Override",
            "Authorization",
        ] {
            assert!(check_name_of_header(name).is_err(), "{name}");
        }
        assert!(check_name_of_header("On-Behalf-Of").is_ok());
    }

    #[test]
    fn selectors_and_forms() {
        assert_eq!(check_selector("/a/b").unwrap(), Selector::Json("/a/b".into()));
        assert_eq!(
            check_selector("header:X-Key").unwrap(),
            Selector::Header("x-key".into())
        );
        assert_eq!(
            check_selector("xml:/A/B").unwrap(),
            Selector::Xml(vec!["A".into(), "B".into()])
        );
        for bad in [
            "",
            "/a/*",
            "header:",
            "form:",
            "xml:",
            "xml:a",
            "xml:/",
            "xml:/a/*",
            "xml:/a//b",
            "cookie:x",
        ] {
            assert!(check_selector(bad).is_err(), "{bad}");
        }
        let pairs = form_pairs(b"a=1+2&b=%26%3D").unwrap();
        assert_eq!(pairs, [("a".into(), "1 2".into()), ("b".into(), "&=".into())]);
        assert!(form_pairs(b"a=%2").is_none());
        let mut out = Vec::new();
        percent(b"a b/\xff", &mut out);
        assert_eq!(out, b"a%20b%2F%FF");
    }
}
