mod frame;
mod http;
mod login;
mod sql;

use std::fmt;
use std::str::FromStr;

use keywheel_model::StepName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::call::{Call, Piece, SecretRole};
use crate::canonical::canonical_json;
use crate::pointer::Pointer;
use crate::reader::{Fields, Problems};
use crate::template::{Pattern, Slot};

pub use frame::{FrameShape, Framing};
pub use http::{HttpShape, Meaning, Told};
pub use login::LoginShape;
pub use sql::SqlShape;

/// `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected `sha256:` and 64 lower-case hex digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let hex = text.strip_prefix("sha256:").ok_or(ParseDigestError)?;
        let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != 64 || !hex.bytes().all(good) {
            return Err(ParseDigestError);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| ParseDigestError)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, ParseDigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// What a call changes on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShapeEffect {
    /// Nothing.
    None,
    /// Nothing but a login with the rotated credential: it counts against the target's lock-out.
    Login,
    /// Makes a credential.
    Create,
    /// Makes the target accept a credential, or changes it. What no shape declares and could write counts as this.
    Set,
    /// Makes the target refuse a credential.
    Delete,
}

impl ShapeEffect {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Create => "create",
            Self::Set => "set",
            Self::Delete => "delete",
        }
    }

    /// Whether a step may do it: `plan` nothing, `test` no more than a login, and nobody deletes in a `restored` epoch, since
    /// what looks like an orphan may be the live credential (rule P2).
    pub fn allowed_in(self, step: StepName, restored: bool) -> bool {
        match step {
            StepName::Plan => self == Self::None,
            StepName::Test => self <= Self::Login,
            _ => !(restored && self == Self::Delete),
        }
    }
}

impl fmt::Display for ShapeEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ShapeEffect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Login, Self::Create, Self::Set, Self::Delete]
            .into_iter()
            .find(|effect| effect.as_str() == text)
            .ok_or("expected `none`, `login`, `create`, `set` or `delete`")
    }
}

/// What of a frame's answer comes back to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The simple string, or an error's first word.
    Status,
    /// Nothing.
    None,
    /// All of it, masked. Only for a frame without a secret.
    All,
}

/// One declared call: what it looks like and what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    id: String,
    effect: ShapeEffect,
    body: ShapeBody,
    digest: Digest,
    text: String,
}

/// The kinds of shapes.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapeBody {
    /// `[[login]]`: a database login.
    Login(LoginShape),
    /// `[[sql]]`: a statement.
    Sql(SqlShape),
    /// `[[frame]]`: a whole protocol message.
    Frame(FrameShape),
    /// `[[http]]`: an HTTP request.
    Http(Box<HttpShape>),
}

impl Shape {
    /// Whether a text can be the id of one: lower-case letters, digits, `-`, first a letter, at most 63.
    pub fn is_id(text: &str) -> bool {
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        text.len() <= 63
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && text.bytes().all(rest)
    }

    /// Its name in the manifest and in the grant; unique over all kinds.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it changes.
    pub fn effect(&self) -> ShapeEffect {
        self.effect
    }

    /// What a grant pins: sha256 of the canonical JSON of `{"<kind>": <the shape as written>}`.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it looks like.
    pub fn body(&self) -> &ShapeBody {
        &self.body
    }

    /// What is sent, as the manifest writes it: the statement, the frame, the request, who logs in with what.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `login`, `sql`, `frame` or `http`.
    pub fn kind(&self) -> &'static str {
        match self.body {
            ShapeBody::Login(_) => "login",
            ShapeBody::Sql(_) => "sql",
            ShapeBody::Frame(_) => "frame",
            ShapeBody::Http(_) => "http",
        }
    }

    /// The roles of the secrets that stand in it, in order.
    pub fn secrets(&self) -> Vec<&SecretRole> {
        self.patterns().into_iter().map(|pattern| &pattern.role).collect()
    }

    pub(crate) fn patterns(&self) -> Vec<&Pattern> {
        match &self.body {
            ShapeBody::Login(login) => vec![&login.password],
            ShapeBody::Sql(sql) => secrets_of(&sql.slots),
            ShapeBody::Frame(frame) => frame
                .tokens
                .iter()
                .flat_map(|token| secrets_of(token.slots()))
                .collect(),
            ShapeBody::Http(http) => http
                .secrets
                .iter()
                .flat_map(|(_, slots)| secrets_of(slots))
                .collect(),
        }
    }

    /// Whether a call is the declared one.
    pub(crate) fn fits(&self, call: &Call, configuration: &Value) -> bool {
        match (&self.body, call) {
            (
                ShapeBody::Login(shape),
                Call::Login {
                    driver,
                    user,
                    password,
                },
            ) => shape.fits(driver, user, password, configuration),
            (ShapeBody::Sql(shape), Call::Statement { dialect, pieces }) => {
                shape.fits(dialect, pieces, configuration)
            }
            (ShapeBody::Frame(shape), Call::Frame { framing, tokens }) => {
                shape.fits(*framing, tokens, configuration)
            }
            (ShapeBody::Http(shape), Call::Request(request)) => shape.fits(request, configuration),
            _ => false,
        }
    }

    /// Reads one shape of a kind.
    pub(crate) fn read(kind: &str, value: &Value, path: String, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(value, path, problems)?;
        let id = fields.required_text("id", problems).map(str::to_owned);
        if let Some(id) = id.as_deref().filter(|id| !Shape::is_id(id)) {
            problems.add(
                fields.path("id"),
                format!(
                    "`{}` is no id: a-z, 0-9 and -, first a letter, at most 63",
                    id.escape_debug()
                ),
            );
        }
        let effect: Option<ShapeEffect> = fields.required_parsed("effect", problems);
        let body = match kind {
            "login" => LoginShape::read(&mut fields, problems).map(ShapeBody::Login),
            "sql" => SqlShape::read(&mut fields, problems).map(ShapeBody::Sql),
            "frame" => FrameShape::read(&mut fields, problems).map(ShapeBody::Frame),
            _ => HttpShape::read(&mut fields, problems).map(|http| ShapeBody::Http(Box::new(http))),
        };
        fields.finish(problems);
        let digest = Digest::of(canonical_json(&json!({ kind: value })).as_bytes());
        Some(Self {
            id: id?,
            effect: effect?,
            body: body?,
            digest,
            text: written(kind, value),
        })
    }
}

/// For people; bounded by the size of a manifest.
fn written(kind: &str, value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "login" => format!(
            "{} login of {} with {}",
            text("driver"),
            text("user"),
            text("password")
        ),
        "sql" => text("text").to_owned(),
        "frame" => {
            let tokens = value.get("send").and_then(Value::as_array);
            let token = |token: &Value| token.as_str().map_or_else(|| token.to_string(), str::to_owned);
            tokens
                .into_iter()
                .flatten()
                .map(token)
                .collect::<Vec<_>>()
                .join(" ")
        }
        _ => text("request").to_owned(),
    }
}

fn secrets_of(slots: &[Slot]) -> Vec<&Pattern> {
    slots
        .iter()
        .filter_map(|slot| {
            if let Slot::Secret(pattern) = slot {
                Some(pattern)
            } else {
                None
            }
        })
        .collect()
}

/// Whether a value in a call is one of those that the configuration has at a pointer.
fn is_configured(text: &str, pointer: &Pointer, configuration: &Value) -> bool {
    pointer.texts(configuration).iter().any(|value| value == text)
}

/// Parses a declared text, noting what is wrong with it.
fn parse_slots(text: &str, path: String, problems: &mut Problems) -> Option<Vec<Slot>> {
    crate::template::parse(text)
        .map_err(|message| problems.add(path, message))
        .ok()
}

/// Neighbouring texts as one, so that how the guest cut them does not matter.
fn merged(pieces: &[Piece]) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.extend_from_slice(text),
            _ => merged.push(piece.clone()),
        }
    }
    merged
}

/// Whether the pieces of one element (a bulk string, a header, a body value) are the declared ones, byte for byte.
fn element_fits(slots: &[Slot], pieces: &[Piece], configuration: &Value) -> bool {
    match slots {
        [] => pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Text(text) if text.is_empty())),
        [Slot::AnyText] => pieces.iter().all(|piece| matches!(piece, Piece::Text(_))),
        _ => slots_fit(slots, &[], &merged(pieces), configuration),
    }
}

/// `text` is what is left of the text before `pieces`.
fn slots_fit(slots: &[Slot], text: &[u8], pieces: &[Piece], configuration: &Value) -> bool {
    if text.is_empty()
        && let [Piece::Text(next), pieces @ ..] = pieces
        && !next.is_empty()
    {
        return slots_fit(slots, next, pieces, configuration);
    }
    let Some((slot, slots)) = slots.split_first() else {
        return text.is_empty() && pieces.is_empty();
    };
    let after = |declared: &[u8]| {
        text.strip_prefix(declared)
            .is_some_and(|text| slots_fit(slots, text, pieces, configuration))
    };
    match (slot, pieces) {
        (Slot::Text(declared), _) => after(declared.as_bytes()),
        (Slot::Value(pointer), _) => pointer
            .texts(configuration)
            .iter()
            .any(|value| after(value.as_bytes())),
        (Slot::Secret(pattern), [Piece::Secret(used), pieces @ ..]) => {
            text.is_empty() && pattern.fits(used) && slots_fit(slots, &[], pieces, configuration)
        }
        // A user name: what stands before the `:`.
        (Slot::AnyText, _) => text
            .iter()
            .position(|byte| *byte == b':')
            .is_some_and(|at| at > 0 && slots_fit(slots, &text[at..], pieces, configuration)),
        _ => false,
    }
}

/// What an element may hold: `{text}` only alone, so that it cannot swallow what stands beside it.
fn check_element(slots: &[Slot], path: &str, problems: &mut Problems) {
    for slot in slots {
        match slot {
            Slot::AnyText if slots.len() > 1 => problems.add(path, "`{text}` must be the whole element"),
            Slot::AnyJson => problems.add(path, "`{any}` stands in HTTP bodies only"),
            Slot::Identifier(_) => problems.add(path, "`{ident:…}` stands in SQL only"),
            _ => {}
        }
    }
}
