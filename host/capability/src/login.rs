//! What a login proves about the credential in it (rule H7).

use keywheel_manifest::{
    Call, FrameToken, Framing, Piece, Position, Request, SecretRole, SecretUse, ShapeEffect,
};
use keywheel_model::Role;

use crate::document::Format;
use crate::error::Error;
use crate::http::SIGV4;
use crate::port::Wanted;
use crate::state::HostState;

impl HostState {
    /// Whether the answer to a call tells of the one secret in it: a fresh login, with the whole or a whole part of it. The rotated
    /// secret's subject, where it names its user, has to go in under that name: a server refuses the right password of another user.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub(crate) async fn is_proof(
        &mut self,
        call: &Call,
        secrets: &[SecretUse],
        effect: ShapeEffect,
    ) -> Result<bool, Error> {
        if matches!(call, Call::Frame { framing: Framing::Ldap, tokens } if !is_bind(tokens)) {
            return Ok(false);
        }
        let subject = SecretRole::Run(Role::Subject);
        match secrets {
            // The document that the secret is has said who signs.
            [used] if is_signature_by_document(used) => Ok(effect == ShapeEffect::Login),
            [used] if effect == ShapeEffect::Login && used.roles.contains(&subject) => {
                self.is_subjects_user(user_of(call), used.part.is_some()).await
            }
            [_] => Ok(effect == ShapeEffect::Login),
            _ => Ok(false),
        }
    }

    /// What was imported as text and went in by a part is a connection string.
    async fn is_subjects_user(&mut self, user: Option<Vec<u8>>, by_part: bool) -> Result<bool, Error> {
        let port = self.step.port.clone();
        let wanted = Wanted::Role(Role::Subject);
        let loaded = self.within(async { Ok(port.load(&wanted).await?) }).await?;
        let own = loaded.and_then(|loaded| {
            let format = Format::of(&loaded.labels).or(by_part.then_some(Format::ConnectionString));
            format.and_then(|format| format.user_of(loaded.value.expose()))
        });
        Ok(own.is_none_or(|own| user.is_some_and(|user| user == own.expose())))
    }
}

/// The user name that a login gives to the server: in a frame what stands right before the secret (`AUTH user password`, the name in an
/// LDAP bind).
fn user_of(call: &Call) -> Option<Vec<u8>> {
    match call {
        Call::Login { user, .. } => Some(user.clone().into_bytes()),
        Call::Frame { tokens, .. } => {
            let with_secret = |token: &FrameToken| {
                matches!(token, FrameToken::Element { pieces, .. }
                    if pieces.iter().any(|piece| matches!(piece, Piece::Secret(_))))
            };
            let at = tokens.iter().position(with_secret)?;
            match tokens[..at].last()? {
                FrameToken::Element { pieces, .. } => joined(pieces),
                _ => None,
            }
        }
        Call::Request(request) => basic_user(request),
        Call::Statement { .. } => None,
    }
}

/// The user of `Authorization: Basic`.
fn basic_user(request: &Request) -> Option<Vec<u8>> {
    let mut places = request.secrets.iter();
    let (_, pieces) = places.find(|(position, _)| *position == Position::Authorization)?;
    let [Piece::Text(before), Piece::Secret(_)] = pieces.as_slice() else {
        return None;
    };
    let user = before.strip_prefix(b"basic ")?.strip_suffix(b":")?;
    Some(user.to_owned())
}

fn is_signature_by_document(used: &SecretUse) -> bool {
    used.form.as_deref() == Some(SIGV4) && used.part.is_none()
}

/// Whether an LDAP message is a simple bind as somebody (RFC 4511 4.2). To nobody, and to nothing but a bind, a directory says yes
/// whatever the password is.
fn is_bind(tokens: &[FrameToken]) -> bool {
    use FrameToken::{Element, Open};
    let [
        Open(0x30),
        _id,
        Open(0x60),
        _version,
        name,
        password,
        FrameToken::Close,
        ..,
    ] = tokens
    else {
        return false;
    };
    let has_name = matches!(name, Element { tag: Some(0x04), pieces }
        if joined(pieces).is_some_and(|name| !name.is_empty()));
    has_name
        && matches!(password, Element { tag: Some(0x80), pieces } if matches!(pieces.as_slice(), [Piece::Secret(_)]))
}

fn joined(pieces: &[Piece]) -> Option<Vec<u8>> {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => Some(text.as_slice()),
        _ => None,
    });
    texts.collect::<Option<Vec<&[u8]>>>().map(|texts| texts.concat())
}
