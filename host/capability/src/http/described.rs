//! A request as the manifest's shapes are compared with it, and as it is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_manifest::{Call, Piece, Pointer, Position, Request as Declared, SecretUse};
use keywheel_model::SecretBytes;
use keywheel_policy::Transport;
use keywheel_target::http;
use serde_json::Value;
use zeroize::Zeroizing;

use super::places::{check_method, form_pairs, is_of_header, percent};
use super::request::{Body, Placed, Request};
use super::sign::{self, Scheme};
use super::url::Url;
use crate::error::Error;
use crate::handle::{Handle, Part};
use crate::json;
use crate::state::HostState;

/// A request whose parts all make sense.
pub(super) struct Described {
    pub(super) url: Url,
    pub(super) call: Call,
    /// The secrets in it, in the order of [`Call::secrets`].
    pub(super) handles: Vec<Handle>,
}

/// What stands in a body: its value with `null` for each secret, and the secrets with their places.
type Content = (Value, Vec<(Position, Handle)>);

impl Described {
    pub(super) fn of(request: &Request, state: &HostState) -> Result<Self, Error> {
        check_method(&request.method)?;
        let url = Url::parse(&request.url)?;
        let mut secrets = Vec::new();
        let mut handles = Vec::new();
        let body = match &request.body {
            None => None,
            Some(Body::Plain(content, media_type)) => Some(value_of(content, media_type)?),
            Some(Body::Secret(document)) => {
                let (value, placed) = content_of(document)?;
                for (position, handle) in placed {
                    secrets.push((position, vec![Piece::Secret(state.secret_use(&handle))]));
                    handles.push(handle);
                }
                Some(value)
            }
        };
        for placed in &request.secrets {
            let (place, handle) = place_of(placed, state)?;
            secrets.push(place);
            handles.push(handle);
        }
        let call = Call::Request(Declared {
            method: request.method.clone(),
            url: request.url.clone(),
            query: request.query.clone(),
            secrets,
            body,
            capture: request
                .captures
                .iter()
                .map(|capture| capture.selector.clone())
                .collect(),
        });
        Ok(Self { url, call, handles })
    }

    /// As it is sent. `now`: seconds since the epoch, for signatures.
    pub(super) fn wire(&self, request: &Request, now: u64) -> Result<http::Request, Error> {
        let mut headers: Vec<(String, SecretBytes)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), SecretBytes::copy_of(value.as_bytes())))
            .collect();
        let mut put = |name: &str, value: &str| {
            headers.push((name.to_owned(), SecretBytes::copy_of(value.as_bytes())));
        };
        let body = request.body.as_ref().map(|body| match body {
            Body::Plain(content, media_type) => {
                put("content-type", media_type);
                SecretBytes::copy_of(content)
            }
            Body::Secret(document) => {
                put("content-type", "application/json");
                document.value().duplicate()
            }
        });
        if let Some(key) = &request.idempotency_key {
            put("idempotency-key", key);
        }
        for placed in &request.secrets {
            if let Some(header) = header_of(placed)? {
                headers.push(header);
            }
        }
        let peer = &self.url.peer;
        let mut wire = http::Request {
            method: request.method.clone(),
            host: peer.host.clone(),
            port: peer.port,
            tls: (peer.transport == Transport::Tls).then(|| request.trust.clone()),
            target: self.target(request),
            headers,
            body,
        };
        for placed in &request.secrets {
            if let Placed::Signed(scheme, parameters, key) = placed {
                let scheme = Scheme::of(scheme, parameters)?;
                sign::sign(&scheme, key.value(), &request.query, &mut wire, now)?;
            }
        }
        Ok(wire)
    }

    /// Path and query.
    fn target(&self, request: &Request) -> SecretBytes {
        let plain = request
            .query
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let secret = request.secrets.iter().filter_map(|placed| match placed {
            Placed::Query(name, handle) => Some((name.as_str(), handle.value().expose())),
            _ => None,
        });
        let mut target = Zeroizing::new(self.url.path.clone().into_bytes());
        for (at, (name, value)) in plain.chain(secret).enumerate() {
            target.push(if at == 0 { b'?' } else { b'&' });
            percent(name.as_bytes(), &mut target);
            target.push(b'=');
            percent(value, &mut target);
        }
        SecretBytes::copy_of(&target)
    }
}

/// Where a secret stands, as a shape names it.
fn place_of(placed: &Placed, state: &HostState) -> Result<((Position, Vec<Piece>), Handle), Error> {
    let secret = |handle: &Handle| Piece::Secret(state.secret_use(handle));
    Ok(match placed {
        Placed::Bearer(token) => (
            (
                Position::Authorization,
                vec![Piece::text("bearer "), secret(token)],
            ),
            token.clone(),
        ),
        Placed::Basic(user, password) => {
            let before = Piece::text(format!("basic {user}:"));
            (
                (Position::Authorization, vec![before, secret(password)]),
                password.clone(),
            )
        }
        Placed::Header(name, prefix, value) => {
            let position = match name.as_str() {
                "authorization" => Position::Authorization,
                name => Position::Header(name.to_owned()),
            };
            let pieces = if prefix.is_empty() {
                vec![secret(value)]
            } else {
                vec![Piece::text(prefix.as_str()), secret(value)]
            };
            ((position, pieces), value.clone())
        }
        Placed::Query(name, value) => (
            (Position::Query(name.clone()), vec![secret(value)]),
            value.clone(),
        ),
        Placed::Signed(scheme, parameters, key) => {
            let scheme = Scheme::of(scheme, parameters)?;
            let used = SecretUse {
                form: Some(scheme.name().to_owned()),
                ..state.secret_use(key)
            };
            ((scheme.position(), vec![Piece::Secret(used)]), key.clone())
        }
    })
}

/// The header that a secret stands in.
fn header_of(placed: &Placed) -> Result<Option<(String, SecretBytes)>, Error> {
    let joined = |before: &str, handle: &Handle| -> Result<SecretBytes, Error> {
        let value = handle.value().expose();
        // One bit of a value that no plugin has chosen: a key with a line break in it would be two headers.
        if !is_of_header(value) {
            let message = format!(
                "{} has characters that no header carries (a line break, a control character, other than ASCII): was it imported whole, and nothing else?",
                handle.id()
            );
            return Err(Error::invalid("http.secret", message));
        }
        let mut header = Zeroizing::new(Vec::with_capacity(before.len() + value.len()));
        header.extend_from_slice(before.as_bytes());
        header.extend_from_slice(value);
        Ok(SecretBytes::copy_of(&header))
    };
    Ok(match placed {
        Placed::Bearer(token) => Some(("authorization".to_owned(), joined("Bearer ", token)?)),
        Placed::Header(name, prefix, value) => Some((name.clone(), joined(prefix, value)?)),
        Placed::Basic(user, password) => {
            let value = password.value().expose();
            let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + value.len()));
            pair.extend_from_slice(user.as_bytes());
            pair.push(b':');
            pair.extend_from_slice(value);
            let coded = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
            Some(("authorization".to_owned(), SecretBytes::copy_of(coded.as_bytes())))
        }
        Placed::Query(..) | Placed::Signed(..) => None,
    })
}

/// A body without a secret: a document, the fields of a form, or else a text that no shape declares.
fn value_of(content: &[u8], media_type: &str) -> Result<Value, Error> {
    if media_type == "application/json" || media_type.ends_with("+json") {
        let whole = json::scan(content).and_then(|_| serde_json::from_slice(content).ok());
        return whole.ok_or_else(|| {
            Error::invalid(
                "http.body",
                "the body is no JSON document, or a name stands in it twice",
            )
        });
    }
    if media_type == "application/x-www-form-urlencoded" {
        let wrong = || Error::invalid("http.body", "the body is no form, or a name stands in it twice");
        let mut fields = serde_json::Map::new();
        for (name, value) in form_pairs(content).ok_or_else(wrong)? {
            if fields.insert(name, Value::String(value)).is_some() {
                return Err(wrong());
            }
        }
        return Ok(Value::Object(fields));
    }
    Ok(Value::String(String::new()))
}

/// A body that was composed: each secret in it stands alone in its string.
fn content_of(document: &Handle) -> Result<Content, Error> {
    let wrong = || {
        Error::invalid(
            "http.body",
            "a body with secrets is a JSON document that was composed in this step (`application/json`), each secret in a string of its own with the encoding `json`",
        )
    };
    let structure = document
        .labels()
        .structure
        .as_ref()
        .filter(|structure| structure.rest.is_none());
    let structure = structure.ok_or_else(wrong)?;
    let text = document.value().expose();
    let nodes = json::scan(text).ok_or_else(wrong)?;
    let mut placed = Vec::new();
    let mut masked = Vec::new();
    let mut from = 0;
    for (pointer, part) in &structure.parts {
        match part {
            Part::Text => {}
            Part::Mixed => return Err(wrong()),
            Part::Secret(_) => {
                let handle = document.piece(pointer).ok_or_else(wrong)?;
                let place: Pointer = pointer.parse().map_err(|_| wrong())?;
                placed.push((Position::Body(place), handle.clone()));
            }
        }
    }
    for node in &nodes {
        if document.piece(&node.pointer).is_some() {
            masked.extend_from_slice(&text[from..node.span.start]);
            masked.extend_from_slice(b"null");
            from = node.span.end;
        }
    }
    masked.extend_from_slice(&text[from..]);
    let value = serde_json::from_slice(&masked).map_err(|_| wrong())?;
    Ok((value, placed))
}
