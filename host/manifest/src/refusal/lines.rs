use keywheel_model::Role;
use serde_json::Value;

use crate::call::{Call, FrameToken, Piece, Position, Request, SecretRole, SecretUse};
use crate::manifest::Manifest;
use crate::pointer::scalar_text;
use crate::reader::{Problems, toml_to_json};
use crate::shape::{Framing, Shape, ShapeEffect};

const PREVIEW_BYTES: usize = 160;
/// Stands for a place in the configuration that does not exist yet.
const NO_PLACE: &str = "/…";

/// The call in short: author's text as it is, everything else as `…`.
pub(super) fn preview(call: &Call) -> String {
    let text = match call {
        Call::Login { driver, .. } => format!("{driver} login of … with …"),
        Call::Statement { pieces, .. } => pieces.iter().map(short).collect::<String>().trim().to_owned(),
        Call::Frame { tokens, .. } => tokens
            .iter()
            .filter_map(short_token)
            .collect::<Vec<_>>()
            .join(" "),
        Call::Request(request) => format!("{} {}", request.method, request.url),
    };
    let printable: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    match printable.char_indices().find(|(at, _)| *at >= PREVIEW_BYTES) {
        Some((at, _)) => format!("{} …", &printable[..at]),
        None => printable,
    }
}

fn short(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => "…".to_owned(),
    }
}

fn short_token(token: &FrameToken) -> Option<String> {
    match token {
        FrameToken::Element { pieces, .. } => Some(pieces.iter().map(short).collect()),
        _ => None,
    }
}

/// The lines that declare the call, and what they leave to decide. Empty lines: no shape could declare it, and the notes say why.
pub(super) fn declare(call: &Call, configuration: &Value, manifest: &Manifest) -> (String, Vec<String>) {
    let mut writer = Writer {
        configuration,
        notes: Vec::new(),
    };
    let (kind, lines) = match call {
        Call::Login {
            driver,
            user,
            password,
        } => ("login", writer.login(driver, user, password)),
        Call::Statement { dialect, pieces } => ("sql", writer.statement(dialect, pieces)),
        Call::Frame { framing, tokens } => ("frame", writer.frame(*framing, tokens)),
        Call::Request(request) => ("http", writer.request(request)),
    };
    let text = format!(
        "[[{kind}]]\n{}\n{}\n",
        line("id", &free_id(kind, manifest)),
        lines.join("\n")
    );
    let mut problems = Problems::default();
    match toml_to_json(&text) {
        Ok(document) => drop(Shape::read(
            kind,
            &document[kind][0],
            String::new(),
            &mut problems,
        )),
        Err(errors) => errors
            .into_iter()
            .for_each(|error| problems.add("", error.message)),
    }
    if problems.is_empty() {
        return (text, writer.notes);
    }
    let reasons = problems
        .into_list(None)
        .into_iter()
        .map(|problem| format!("no shape can declare this: {}", problem.message));
    (String::new(), writer.notes.into_iter().chain(reasons).collect())
}

struct Writer<'v> {
    configuration: &'v Value,
    notes: Vec<String>,
}

impl Writer<'_> {
    fn login(&mut self, driver: &str, user: &str, password: &SecretUse) -> Vec<String> {
        let place = self.place_or_note(user);
        vec![
            line("driver", driver),
            line("user", &format!("{{{place}}}")),
            line("password", &Self::secret(password)),
            line("effect", effect_of(&[password], ShapeEffect::Login).as_str()),
        ]
    }

    fn statement(&mut self, dialect: &str, pieces: &[Piece]) -> Vec<String> {
        let text: String = pieces.iter().map(|piece| self.sql_piece(piece)).collect();
        vec![
            line("dialect", dialect),
            line("text", text.trim()),
            line("effect", "set"),
        ]
    }

    fn sql_piece(&mut self, piece: &Piece) -> String {
        match piece {
            Piece::Text(text) => escaped(&String::from_utf8_lossy(text)),
            Piece::Identifier(name) => format!("{{ident:{}}}", self.place_or_note(name)),
            Piece::Literal(text) => self
                .place(text)
                .map_or_else(|| "{text}".to_owned(), |place| format!("{{{place}}}")),
            Piece::Param => {
                self.notes
                    .push("a declared statement takes literals, not parameters".to_owned());
                "{text}".to_owned()
            }
            Piece::Secret(used) => Self::secret(used),
        }
    }

    fn frame(&mut self, framing: Framing, tokens: &[FrameToken]) -> Vec<String> {
        let mut send = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            send.push(match token {
                FrameToken::Open(tag) => format!("({tag:02x}"),
                FrameToken::Close => ")".to_owned(),
                FrameToken::Element { tag, pieces } => {
                    let text: String = pieces
                        .iter()
                        .map(|piece| self.element_piece(piece, at == 0))
                        .collect();
                    tag.map_or_else(|| text.clone(), |tag| format!("{tag:02x} {text}"))
                }
            });
        }
        let secrets: Vec<&SecretUse> = tokens.iter().flat_map(token_secrets).collect();
        let send = send
            .iter()
            .map(|text| quoted(text))
            .collect::<Vec<_>>()
            .join(", ");
        let reply = if secrets.is_empty() { "all" } else { "status" };
        let login = preview(&Call::Frame {
            framing,
            tokens: tokens.to_vec(),
        })
        .to_ascii_uppercase()
        .starts_with("AUTH");
        let effect = if login {
            effect_of(&secrets, ShapeEffect::Login)
        } else {
            ShapeEffect::Set
        };
        vec![
            line("framing", framing.as_str()),
            format!("send = [{send}]"),
            line("effect", effect.as_str()),
            line("reply", reply),
        ]
    }

    fn element_piece(&mut self, piece: &Piece, command: bool) -> String {
        match piece {
            Piece::Text(text) => {
                let text = String::from_utf8_lossy(text);
                let place = if command { None } else { self.place(&text) };
                place.map_or_else(|| escaped(&text), |place| format!("{{{place}}}"))
            }
            other => self.sql_piece(other),
        }
    }

    fn request(&mut self, request: &Request) -> Vec<String> {
        let (scheme, rest) = request
            .url
            .split_once("://")
            .unwrap_or(("https", request.url.as_str()));
        let segments: Vec<String> = rest
            .split('/')
            .map(|segment| self.element_piece(&Piece::text(segment), false))
            .collect();
        let query: Vec<String> = request
            .query
            .iter()
            .map(|(name, _)| format!("{name}={{text}}"))
            .collect();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{}", query.join("&"))
        };
        let mut lines = vec![line(
            "request",
            &format!("{} {scheme}://{}{query}", request.method, segments.join("/")),
        )];
        let secrets: Vec<String> = request
            .secrets
            .iter()
            .map(|(position, pieces)| self.header(position, pieces))
            .collect();
        if !secrets.is_empty() {
            lines.push(format!("secret = {{ {} }}", secrets.join(", ")));
        }
        if let Some(body) = request.body.as_ref().and_then(Value::as_object) {
            let fields: Vec<String> = body
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| {
                    format!(
                        "{} = {}",
                        quoted(&format!("/{key}")),
                        quoted(if value.is_string() { "{text}" } else { "{any}" })
                    )
                })
                .collect();
            lines.push(format!("body = {{ {} }}", fields.join(", ")));
        }
        if !request.capture.is_empty() {
            lines.push(format!(
                "capture = [{}]",
                request
                    .capture
                    .iter()
                    .map(|selector| quoted(selector))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        let effect = match request.method.as_str() {
            "GET" | "HEAD" => effect_of(
                &request
                    .secrets
                    .iter()
                    .flat_map(|(_, pieces)| uses(pieces))
                    .collect::<Vec<_>>(),
                ShapeEffect::Login,
            ),
            "POST" => ShapeEffect::Create,
            "DELETE" => ShapeEffect::Delete,
            _ => ShapeEffect::Set,
        };
        lines.push(line("effect", effect.as_str()));
        lines
    }

    fn header(&mut self, position: &Position, pieces: &[Piece]) -> String {
        let text: String = pieces
            .iter()
            .map(|piece| self.element_piece(piece, false))
            .collect();
        format!("{} = {}", quoted(&position.to_string()), quoted(&text))
    }

    fn secret(used: &SecretUse) -> String {
        let subject = SecretRole::Run(Role::Subject);
        let role = if used.roles.contains(&subject) {
            Some(&subject)
        } else {
            used.roles.first()
        };
        let role = role.map(ToString::to_string).unwrap_or_default();
        let part = used.part.as_ref().map(ToString::to_string).unwrap_or_default();
        let derivation = used
            .derivation
            .as_ref()
            .map(|name| format!("|{name}"))
            .unwrap_or_default();
        let form = used
            .form
            .as_ref()
            .map(|form| format!(" as {form}"))
            .unwrap_or_default();
        format!("{{{role}{part}{derivation}{form}}}")
    }

    fn place_or_note(&mut self, value: &str) -> String {
        self.place(value).unwrap_or_else(|| {
            self.notes.push(format!("{value:?} is nowhere in the configuration: put it there, and its place instead of `{NO_PLACE}`"));
            NO_PLACE.to_owned()
        })
    }

    /// Where the configuration has a value; places in a list are named by `*`.
    fn place(&self, value: &str) -> Option<String> {
        if value.is_empty() {
            None
        } else {
            place_in(self.configuration, value, "", false)
        }
    }
}

fn place_in(here: &Value, wanted: &str, path: &str, starred: bool) -> Option<String> {
    match here {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            place_in(value, wanted, &format!("{path}/{key}"), starred)
        }),
        Value::Array(items) if !starred => items
            .iter()
            .find_map(|item| place_in(item, wanted, &format!("{path}/*"), true)),
        scalar => (scalar_text(scalar).as_deref() == Some(wanted)).then(|| path.to_owned()),
    }
}

/// An administrator's login changes nothing; one with the rotated secret is a login.
fn effect_of(secrets: &[&SecretUse], own: ShapeEffect) -> ShapeEffect {
    let is_own = |used: &&SecretUse| used.roles.iter().any(|role| matches!(role, SecretRole::Run(_)));
    if secrets.iter().any(is_own) {
        own
    } else {
        ShapeEffect::None
    }
}

fn token_secrets(token: &FrameToken) -> impl Iterator<Item = &SecretUse> {
    let pieces = if let FrameToken::Element { pieces, .. } = token {
        pieces.as_slice()
    } else {
        &[]
    };
    uses(pieces)
}

fn uses(pieces: &[Piece]) -> impl Iterator<Item = &SecretUse> {
    pieces.iter().filter_map(|piece| {
        if let Piece::Secret(used) = piece {
            Some(used)
        } else {
            None
        }
    })
}

/// A name that no shape has yet; the author will find a better one.
fn free_id(kind: &str, manifest: &Manifest) -> String {
    let mut ids = (1..=manifest.shapes().len() + 1).map(|number| format!("{kind}-{number}"));
    ids.find(|id| manifest.shape(id).is_none()).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn line(key: &str, text: &str) -> String {
    format!("{key} = {}", quoted(text))
}
