mod told;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{check_element, element_fits, parse_slots};
use crate::call::{Piece, Position, Request};
use crate::pointer::Pointer;
use crate::reader::{Fields, Problems, join};
use crate::template::Slot;

pub use told::{Meaning, Told};

/// Header names that servers are known to send back; no secret goes there.
const ECHOED: [&str; 9] = [
    "origin",
    "user-agent",
    "referer",
    "host",
    "cookie",
    "prefer",
    "idempotency-key",
    "x-request-id",
    "x-correlation-id",
];
const METHODS: [&str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];

/// `[[http]]`: one endpoint: method, URL template, the places of its secrets, and what of the answer is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpShape {
    pub(crate) method: String,
    pub(crate) scheme: String,
    /// The authority, then each path segment.
    pub(crate) segments: Vec<Vec<Slot>>,
    pub(crate) query: Vec<(String, Vec<Slot>)>,
    pub(crate) secrets: Vec<(Position, Vec<Slot>)>,
    pub(crate) body: Vec<(Pointer, DeclaredValue)>,
    pub(crate) rejects: Vec<u16>,
    pub(crate) capture: Vec<String>,
    pub(crate) show: Vec<Pointer>,
    pub(crate) headers: Vec<String>,
    told: Vec<Told>,
}

/// A declared value of a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeclaredValue {
    Slots(Vec<Slot>),
    Fixed(Value),
}

impl HttpShape {
    /// The statuses, beside 401, by which the service says that it does not know the credential.
    pub fn rejects(&self) -> &[u16] {
        &self.rejects
    }

    /// What of the answer comes back beside the status: pointers into its JSON body.
    pub fn show(&self) -> &[Pointer] {
        &self.show
    }

    /// The headers of the answer that come back, lower case.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// What answers say of the credential in a login, where their status alone does not.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// What may be captured.
    pub fn capture(&self) -> &[String] {
        &self.capture
    }

    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let capture = fields
            .texts("capture", problems)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let show = fields.parsed_list("show", problems);
        let headers = fields
            .texts("headers", problems)
            .into_iter()
            .map(str::to_ascii_lowercase)
            .collect();
        let told = told::read_told(fields, problems);
        let secrets = read_secrets(fields, problems);
        let body = read_body(fields, problems);
        let rejects = read_rejects(fields, problems);
        let path = fields.path("request");
        let request = fields.required_text("request", problems)?;
        let Some((method, scheme, rest)) = split_request(request) else {
            problems.add(
                path,
                "expected `METHOD https://host/path`, with a method in capitals",
            );
            return None;
        };
        let slots = parse_slots(rest, path.clone(), problems)?;
        if slots.iter().any(|slot| matches!(slot, Slot::Secret(_))) {
            problems.add(
                path.clone(),
                "no secret stands in a URL here; a query's stands under `secret`, as `query:<name>`",
            );
        }
        let mut parts = split(slots, '?').into_iter();
        let segments = split(parts.next().unwrap_or_default(), '/');
        if segments
            .first()
            .is_none_or(|authority| authority.is_empty() || authority.contains(&Slot::AnyText))
        {
            problems.add(
                path.clone(),
                "the host is written out or comes from the configuration",
            );
        }
        let mut query = Vec::new();
        for pair in parts.next().map(|query| split(query, '&')).unwrap_or_default() {
            let mut sides = split(pair, '=').into_iter();
            match (sides.next().as_deref(), sides.next(), sides.next()) {
                (Some([Slot::Text(name)]), Some(value), None) => query.push((name.clone(), value)),
                _ => problems.add(
                    path.clone(),
                    "a query is `name=value` pairs with `&` between them",
                ),
            }
        }
        if parts.next().is_some() {
            problems.add(path.clone(), "a URL has one `?`");
        }
        for slots in segments.iter().chain(query.iter().map(|(_, slots)| slots)) {
            check_element(slots, &path, problems);
        }
        Some(Self {
            method,
            scheme,
            segments,
            query,
            secrets,
            body,
            rejects,
            capture,
            show,
            headers,
            told,
        })
    }

    pub(super) fn fits(&self, request: &Request, configuration: &Value) -> bool {
        self.method == request.method
            && self.url_fits(&request.url, configuration)
            && self.query_fits(&request.query, configuration)
            && self.secrets_fit(&request.secrets, configuration)
            && request
                .body
                .as_ref()
                .is_none_or(|body| self.body_fits(body, "", configuration))
            && request
                .capture
                .iter()
                .all(|selector| self.capture.contains(selector))
    }

    fn url_fits(&self, url: &str, configuration: &Value) -> bool {
        let Some(rest) = url
            .strip_prefix(self.scheme.as_str())
            .and_then(|rest| rest.strip_prefix("://"))
        else {
            return false;
        };
        if rest.contains(['?', '#', '@', '\\'])
            || rest
                .chars()
                .any(|character| character.is_whitespace() || character.is_control())
        {
            return false;
        }
        let sent: Vec<&str> = rest.split('/').collect();
        let dots = |segment: &str| {
            matches!(
                segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
                "." | ".."
            )
        };
        if sent.iter().any(|segment| dots(segment)) {
            return false;
        }
        let fits = |(sent, slots): (&&str, &Vec<Slot>)| {
            let empty_any = sent.is_empty() && slots.contains(&Slot::AnyText);
            !empty_any && element_fits(slots, &[Piece::text(*sent)], configuration)
        };
        match self.segments.split_last() {
            // The rest of a path that the operator wrote, however many segments it has.
            Some((last, before)) if matches!(last.as_slice(), [Slot::Value(_)]) && !before.is_empty() => {
                let rest = sent.get(before.len()..).unwrap_or_default().join("/");
                sent.len() > before.len()
                    && sent.iter().zip(before).all(fits)
                    && element_fits(last, &[Piece::text(rest)], configuration)
            }
            _ => sent.len() == self.segments.len() && sent.iter().zip(&self.segments).all(fits),
        }
    }

    fn query_fits(&self, sent: &[(String, String)], configuration: &Value) -> bool {
        let fits = |(name, slots): &(String, Vec<Slot>)| {
            let mut same = sent.iter().filter(|(sent, _)| sent == name);
            match (same.next(), same.next()) {
                (Some((_, value)), None) => {
                    element_fits(slots, &[Piece::text(value.as_str())], configuration)
                }
                _ => false,
            }
        };
        sent.len() == self.query.len() && self.query.iter().all(fits)
    }

    fn secrets_fit(&self, sent: &[(Position, Vec<Piece>)], configuration: &Value) -> bool {
        let places: BTreeSet<&Position> = sent.iter().map(|(position, _)| position).collect();
        let fits = |(position, pieces): &(Position, Vec<Piece>)| {
            let declared = self.secrets.iter().find(|(declared, _)| declared == position);
            declared.is_some_and(|(_, slots)| element_fits(slots, pieces, configuration))
        };
        places.len() == sent.len() && sent.len() == self.secrets.len() && sent.iter().all(fits)
    }

    /// Every value of the body lies at a declared place; a declared one may be left out.
    fn body_fits(&self, value: &Value, path: &str, configuration: &Value) -> bool {
        if let Some((_, declared)) = self.body.iter().find(|(pointer, _)| pointer.as_str() == path) {
            return match (declared, value) {
                (DeclaredValue::Fixed(fixed), value) => fixed == value,
                (DeclaredValue::Slots(slots), _) if slots.as_slice() == [Slot::AnyJson] => true,
                (DeclaredValue::Slots(slots), Value::String(text)) => {
                    element_fits(slots, &[Piece::text(text.as_str())], configuration)
                }
                (DeclaredValue::Slots(slots), value) => match slots.as_slice() {
                    [Slot::Value(pointer)] => pointer.values(configuration).contains(&value),
                    _ => false,
                },
            };
        }
        let is_secret = |(position, _): &(Position, Vec<Slot>)| matches!(position, Position::Body(pointer) if pointer.as_str() == path);
        match value {
            Value::Null => self.secrets.iter().any(is_secret),
            Value::Object(map) => map.iter().all(|(key, value)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                self.body_fits(value, &format!("{path}/{key}"), configuration)
            }),
            _ => false,
        }
    }
}

/// Cuts the author's text at a character; what stands in braces is left whole.
fn split(slots: Vec<Slot>, at: char) -> Vec<Vec<Slot>> {
    let mut parts = vec![Vec::new()];
    for slot in slots {
        let Slot::Text(text) = slot else {
            if let Some(part) = parts.last_mut() {
                part.push(slot);
            }
            continue;
        };
        for (index, piece) in text.split(at).enumerate() {
            if index > 0 {
                parts.push(Vec::new());
            }
            if !piece.is_empty()
                && let Some(part) = parts.last_mut()
            {
                part.push(Slot::Text(piece.to_owned()));
            }
        }
    }
    parts
}

fn split_request(text: &str) -> Option<(String, String, &str)> {
    let (method, url) = text.split_once(' ')?;
    let (scheme, rest) = url.split_once("://")?;
    let known = METHODS.contains(&method) && matches!(scheme, "https" | "http") && !rest.contains([' ', '#']);
    known.then(|| (method.to_owned(), scheme.to_owned(), rest))
}

fn read_secrets(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<(Position, Vec<Slot>)> {
    let path = fields.path("secret");
    let mut secrets = Vec::new();
    for (key, value) in fields.table("secret", problems).into_iter().flatten() {
        let path = join(&path, key);
        let position = match key.split_once(':') {
            None if key == "authorization" => Some(Position::Authorization),
            Some(("header", name)) if !is_echoed(name) => Some(Position::Header(name.to_owned())),
            Some(("query", name)) => Some(Position::Query(name.to_owned())),
            Some(("body", pointer)) => pointer.parse().ok().map(Position::Body),
            _ => None,
        };
        let slots = value
            .as_str()
            .and_then(|text| parse_slots(text, path.clone(), problems));
        let secret = slots
            .as_ref()
            .is_some_and(|slots| slots.iter().any(|slot| matches!(slot, Slot::Secret(_))));
        match (position, slots) {
            (Some(position), Some(slots)) if secret => {
                if position != Position::Authorization || !is_basic_of_any(&slots) {
                    check_element(&slots, &path, problems);
                }
                secrets.push((position, slots));
            }
            (None, _) => problems.add(path, "expected `authorization`, `header:<name>` (none that servers echo), `query:<name>` or `body:<pointer>`"),
            _ => problems.add(path, "expected a text with a secret in it, such as `bearer {input:admin}`"),
        }
    }
    secrets
}

/// `basic {text}:{…}`: no user name has a `:` (RFC 7617), so that the text cannot swallow what stands beside it.
fn is_basic_of_any(slots: &[Slot]) -> bool {
    matches!(slots, [Slot::Text(scheme), Slot::AnyText, Slot::Text(colon), Slot::Secret(_)] if scheme == "basic " && colon == ":")
}

fn read_rejects(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<u16> {
    let path = fields.path("rejects");
    let status = |value: &Value| value.as_u64().and_then(|status| u16::try_from(status).ok());
    let list = fields.list("rejects", problems);
    let found: Vec<u16> = list
        .iter()
        .filter_map(status)
        .filter(|status| [400, 403, 404].contains(status))
        .collect();
    if found.len() < list.len() {
        problems.add(
            path,
            "expected statuses that some services have in place of 401: 400, 403 or 404",
        );
    }
    found
}

fn is_echoed(name: &str) -> bool {
    name.is_empty()
        || name != name.to_ascii_lowercase()
        || ECHOED.contains(&name)
        || name.starts_with("access-control-")
        || name.starts_with("sec-")
}

fn read_body(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<(Pointer, DeclaredValue)> {
    let path = fields.path("body");
    let mut body = Vec::new();
    for (key, value) in fields.table("body", problems).into_iter().flatten() {
        let path = join(&path, key);
        let declared = match value.as_str() {
            None => Some(DeclaredValue::Fixed(value.clone())),
            Some(text) => parse_slots(text, path.clone(), problems).map(|slots| {
                if slots.as_slice() != [Slot::AnyJson] {
                    check_element(&slots, &path, problems);
                }
                if slots.iter().any(|slot| matches!(slot, Slot::Secret(_))) {
                    problems.add(
                        path.clone(),
                        "a secret of the body stands under `secret`, as `body:<pointer>`",
                    );
                }
                DeclaredValue::Slots(slots)
            }),
        };
        match (key.parse::<Pointer>(), declared) {
            (Ok(pointer), Some(declared)) => body.push((pointer, declared)),
            (Err(error), _) => problems.add(path, error.to_string()),
            (_, None) => {}
        }
    }
    body
}
