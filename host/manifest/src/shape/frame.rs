use std::str::FromStr;

use serde_json::Value;

use super::{Reply, check_element, element_fits, parse_slots, secrets_of};
use crate::call::FrameToken;
use crate::reader::{Fields, Problems};
use crate::template::Slot;

/// How a protocol delimits its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Redis: an array of bulk strings.
    Resp,
    /// Nested tag-length-value.
    Ber,
    /// The same, and the host knows the results: LDAP.
    Ldap,
}

impl FromStr for Framing {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "resp" => Ok(Self::Resp),
            "ber" => Ok(Self::Ber),
            "ldap" => Ok(Self::Ldap),
            _ => Err("expected `resp`, `ber` or `ldap`"),
        }
    }
}

impl Framing {
    /// The word in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Ber => "ber",
            Self::Ldap => "ldap",
        }
    }
}

/// A token as declared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DeclaredToken {
    Open(u8),
    Close,
    Element(Option<u8>, Vec<Slot>),
}

impl DeclaredToken {
    pub(crate) fn slots(&self) -> &[Slot] {
        if let Self::Element(_, slots) = self {
            slots
        } else {
            &[]
        }
    }
}

/// `[[frame]]`: one whole message. `send` lists its elements. For RESP each text is one bulk string. For BER and LDAP `(TT` opens a
/// constructed element with the identifier octet TT (two hex digits), `)` closes it, and `TT text` is a primitive one.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameShape {
    pub(crate) framing: Framing,
    pub(crate) tokens: Vec<DeclaredToken>,
    pub(crate) reply: Reply,
}

impl FrameShape {
    /// Its framing.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What of the answer comes back.
    pub fn reply(&self) -> Reply {
        self.reply
    }

    pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let framing: Option<Framing> = fields.required_parsed("framing", problems);
        let reply = match fields.required_text("reply", problems) {
            Some("status") => Some(Reply::Status),
            Some("none") => Some(Reply::None),
            Some("all") => Some(Reply::All),
            Some(_) => {
                problems.add(
                    fields.path("reply"),
                    "expected `status`, `none`, or, for a frame without a secret, `all`",
                );
                None
            }
            None => None,
        };
        fields.required("send", problems)?;
        let send = fields.texts("send", problems);
        let framing = framing?;
        let mut tokens = Vec::with_capacity(send.len());
        for (at, text) in send.into_iter().enumerate() {
            tokens.push(read_token(
                framing,
                text,
                format!("{}[{at}]", fields.path("send")),
                problems,
            )?);
        }
        check_order(framing, &tokens, &fields.path("send"), problems);
        let reply = reply?;
        if reply == Reply::All && tokens.iter().any(|token| !secrets_of(token.slots()).is_empty()) {
            problems.add(fields.path("reply"), "`all` is for frames without a secret");
        }
        Some(Self {
            framing,
            tokens,
            reply,
        })
    }

    pub(super) fn fits(&self, framing: Framing, tokens: &[FrameToken], configuration: &Value) -> bool {
        let fits = |(declared, sent): (&DeclaredToken, &FrameToken)| match (declared, sent) {
            (DeclaredToken::Open(declared), FrameToken::Open(sent)) => declared == sent,
            (DeclaredToken::Close, FrameToken::Close) => true,
            (DeclaredToken::Element(declared, slots), FrameToken::Element { tag, pieces }) => {
                declared == tag && element_fits(slots, pieces, configuration)
            }
            _ => false,
        };
        self.framing == framing
            && self.tokens.len() == tokens.len()
            && self.tokens.iter().zip(tokens).all(fits)
    }
}

fn read_token(framing: Framing, text: &str, path: String, problems: &mut Problems) -> Option<DeclaredToken> {
    let (tag, text) = match framing {
        Framing::Resp => (None, text),
        Framing::Ber | Framing::Ldap if text == ")" => return Some(DeclaredToken::Close),
        Framing::Ber | Framing::Ldap => {
            let (open, rest) = text.strip_prefix('(').map_or((false, text), |rest| (true, rest));
            let (hex, rest) = rest.split_at_checked(2).unwrap_or((rest, ""));
            let tag = u8::from_str_radix(hex, 16)
                .ok()
                .filter(|_| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
            match (tag, open, rest.strip_prefix(' ')) {
                (Some(tag), true, None) if rest.is_empty() => return Some(DeclaredToken::Open(tag)),
                (Some(tag), false, Some(rest)) => (Some(tag), rest),
                _ => {
                    problems.add(
                        path,
                        "expected `(TT`, `)` or `TT text`, with TT the identifier octet in hex",
                    );
                    return None;
                }
            }
        }
    };
    let slots = parse_slots(text, path.clone(), problems)?;
    check_element(&slots, &path, problems);
    Some(DeclaredToken::Element(tag, slots))
}

fn check_order(framing: Framing, tokens: &[DeclaredToken], path: &str, problems: &mut Problems) {
    if framing == Framing::Resp
        && !matches!(tokens.first(), Some(DeclaredToken::Element(_, slots)) if matches!(slots.as_slice(), [Slot::Text(_)]))
    {
        problems.add(path, "the first element is the command, written out");
    }
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            DeclaredToken::Open(_) => depth += 1,
            DeclaredToken::Close if depth == 0 => return problems.add(path, "`)` closes nothing"),
            DeclaredToken::Close => depth -= 1,
            DeclaredToken::Element(..) => {}
        }
    }
    if depth > 0 {
        problems.add(path, format!("{depth} element(s) are not closed"));
    }
}
