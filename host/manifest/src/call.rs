use std::fmt;

use keywheel_model::Role;
use serde_json::Value;

use crate::pointer::Pointer;
use crate::shape::Framing;

/// What a secret is to the run that uses it. The host takes it from the handle's labels, never from the guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRole {
    /// A version of the rotated secret: `{current}`, `{pending}`, `{previous}`, `{subject}`.
    Run(Role),
    /// `{input:NAME}`: another secret that the configuration names.
    Input(String),
    /// `{state:KEY}`: kept by `set-secret-state`.
    State(String),
    /// `{session:NAME}`: captured by an earlier call of this step.
    Session(String),
}

impl fmt::Display for SecretRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(Role::Current) => f.write_str("current"),
            Self::Run(Role::Pending) => f.write_str("pending"),
            Self::Run(Role::Previous) => f.write_str("previous"),
            Self::Run(Role::Subject) => f.write_str("subject"),
            Self::Input(name) => write!(f, "input:{name}"),
            Self::State(key) => write!(f, "state:{key}"),
            Self::Session(name) => write!(f, "session:{name}"),
        }
    }
}

/// One use of a secret in a call: what it is, and the form in which it is sent. Holds nothing of the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SecretUse {
    /// Every role that this very version has in this run now (in `test`, `pending` is also `subject`). Empty: none, as of a
    /// composed secret, or of one that was generated and not stored; such a use matches no shape.
    pub roles: Vec<SecretRole>,
    /// The piece of it that is used; `None` is the whole.
    pub part: Option<Pointer>,
    /// The derivation that was applied last: `postgres.scram-sha-256`.
    pub derivation: Option<String>,
    /// The encoding or literal form, where it is not the plain one: `hex`, `utf-16le`, `national`.
    pub form: Option<String>,
}

impl SecretUse {
    /// The plain use of a secret that has one role.
    pub fn of(role: SecretRole) -> Self {
        Self {
            roles: vec![role],
            ..Self::default()
        }
    }

    /// The same with a derivation.
    #[must_use]
    pub fn derived(mut self, derivation: &str) -> Self {
        self.derivation = Some(derivation.to_owned());
        self
    }

    /// The same, of the value at a JSON pointer.
    #[must_use]
    pub fn part(mut self, pointer: Pointer) -> Self {
        self.part = Some(pointer);
        self
    }

    /// The same in another form than the plain one.
    #[must_use]
    pub fn form(mut self, form: &str) -> Self {
        self.form = Some(form.to_owned());
        self
    }
}

/// One piece of a statement, frame element, header or URL, in the order in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text by the plugin's author, sent as it is (`statement.text`, `frame.bytes`).
    Text(Vec<u8>),
    /// A name that the host quotes by the dialect.
    Identifier(String),
    /// A text that the host quotes as a literal.
    Literal(String),
    /// A bind parameter without a secret. Matches no shape: declared statements take literals.
    Param,
    /// A secret.
    Secret(SecretUse),
}

impl Piece {
    /// Author's text.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }
}

/// One token of a frame, in order. RESP is a flat list of elements without tags; BER nests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameToken {
    /// A constructed element begins.
    Open(u8),
    /// The innermost constructed element ends.
    Close,
    /// One bulk string (RESP, tag `None`) or primitive element (BER).
    Element {
        /// The identifier octet, for BER.
        tag: Option<u8>,
        /// What stands in it.
        pieces: Vec<Piece>,
    },
}

/// Where in an HTTP request a secret stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// The `Authorization` header.
    Authorization,
    /// Another header, lower case.
    Header(String),
    /// A query parameter.
    Query(String),
    /// The JSON body, at a pointer.
    Body(Pointer),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
        }
    }
}

/// An HTTP request as the host is about to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Scheme, authority and path as sent; no query, no fragment.
    pub url: String,
    /// Query parameters without a secret, in order, decoded.
    pub query: Vec<(String, String)>,
    /// Each secret with its place, and the pieces that stand there (`bearer ` and the secret).
    pub secrets: Vec<(Position, Vec<Piece>)>,
    /// The JSON body without its secrets (`null` in their place).
    pub body: Option<Value>,
    /// What the guest asked to capture.
    pub capture: Vec<String>,
}

/// A call that is about to reach a target, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A database login (`connector.open`).
    Login {
        /// `postgres`.
        driver: String,
        /// The user name that is sent.
        user: String,
        /// The password.
        password: SecretUse,
    },
    /// A statement.
    Statement {
        /// The dialect of the connection.
        dialect: String,
        /// Its pieces; neighbouring texts count as one.
        pieces: Vec<Piece>,
    },
    /// A frame on a channel.
    Frame {
        /// Its framing.
        framing: Framing,
        /// Its tokens.
        tokens: Vec<FrameToken>,
    },
    /// An HTTP request.
    Request(Request),
}

impl Call {
    /// Every use of a secret in it, in order.
    pub fn secrets(&self) -> Vec<&SecretUse> {
        fn of(pieces: &[Piece]) -> impl Iterator<Item = &SecretUse> {
            pieces.iter().filter_map(|piece| {
                if let Piece::Secret(used) = piece {
                    Some(used)
                } else {
                    None
                }
            })
        }
        match self {
            Self::Login { password, .. } => vec![password],
            Self::Statement { pieces, .. } => of(pieces).collect(),
            Self::Frame { tokens, .. } => tokens
                .iter()
                .flat_map(|token| {
                    if let FrameToken::Element { pieces, .. } = token {
                        pieces.as_slice()
                    } else {
                        &[]
                    }
                })
                .filter_map(|piece| {
                    if let Piece::Secret(used) = piece {
                        Some(used)
                    } else {
                        None
                    }
                })
                .collect(),
            Self::Request(request) => request
                .secrets
                .iter()
                .flat_map(|(_, pieces)| of(pieces))
                .collect(),
        }
    }
}
