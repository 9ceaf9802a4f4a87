use keywheel_manifest::{Call, Capability, FrameToken, Framing, Piece, ShapeEffect};
use keywheel_model::{Effect, ErrorKind, SecretBytes};
use keywheel_target::frame::{Frame as Encoded, Framing as EncodedFraming};
use wasmtime::component::Resource;
use zeroize::Zeroizing;

use super::channel::Channel;
use crate::bindings::keywheel::net::frames;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::guard::Ended;
use crate::handle::Handle;
use crate::state::HostState;

/// A message under construction: as it will be encoded, and as the manifest's shapes are compared with it. Its functions
/// cannot fail, so the first error waits for `send`.
pub struct Frame {
    encoded: Option<Encoded>,
    framing: Option<Framing>,
    tokens: Vec<Token>,
    wrong: Option<Error>,
}

enum Token {
    Open(u32),
    Close,
    Bytes(Vec<u8>),
    Secret(Handle, Encoding),
}

/// Bit 6 of an identifier octet: what it holds is elements (X.690 8.1.2.5).
const CONSTRUCTED: u32 = 0x20;

fn framing_of(word: &str) -> Option<(Framing, EncodedFraming)> {
    Some((word.parse().ok()?, EncodedFraming::from_word(word)?))
}

impl Frame {
    fn new(word: &str) -> Self {
        let found = framing_of(word);
        let wrong = found.is_none().then(|| {
            let shown: String = word.chars().take(32).collect();
            Error::invalid(
                "net.framing",
                format!(
                    "the host has no framing `{}`; it has `resp`, `ber` and `ldap`",
                    shown.escape_debug()
                ),
            )
        });
        Self {
            encoded: found.map(|(_, encoded)| Encoded::new(encoded)),
            framing: found.map(|(framing, _)| framing),
            tokens: Vec::new(),
            wrong,
        }
    }

    fn add(&mut self, token: Token, encode: impl FnOnce(&mut Encoded) -> Result<(), keywheel_target::Error>) {
        let Some(encoded) = self.encoded.as_mut().filter(|_| self.wrong.is_none()) else {
            return;
        };
        match encode(encoded) {
            Ok(()) => self.tokens.push(token),
            Err(error) => self.wrong = Some(Error::Answer(error.to_step_error())),
        }
    }

    fn secrets(&self) -> Vec<Handle> {
        let secret = |token: &Token| {
            if let Token::Secret(handle, _) = token {
                Some(handle.clone())
            } else {
                None
            }
        };
        self.tokens.iter().filter_map(secret).collect()
    }

    /// The call that it is now, in the terms of the manifest.
    fn call(&self, framing: Framing, state: &HostState) -> Result<Call, Error> {
        let mut builder = Builder {
            framing,
            tokens: Vec::new(),
            element: None,
        };
        for token in &self.tokens {
            match token {
                Token::Open(tag) => builder.open(*tag)?,
                Token::Close => builder.close(),
                Token::Bytes(bytes) => builder.piece(Piece::Text(bytes.clone()))?,
                Token::Secret(handle, encoding) => {
                    let mut used = state.secret_use(handle);
                    used.form = (*encoding != Encoding::Raw).then(|| encoding.name().to_owned());
                    builder.piece(Piece::Secret(used))?;
                }
            }
        }
        Ok(Call::Frame {
            framing,
            tokens: builder.tokens,
        })
    }
}

/// Joins pieces to elements.
struct Builder {
    framing: Framing,
    tokens: Vec<FrameToken>,
    /// The element that pieces are joined to, with its tag.
    element: Option<(Option<u8>, Vec<Piece>)>,
}

impl Builder {
    fn open(&mut self, tag: u32) -> Result<(), Error> {
        if self.framing == Framing::Resp {
            self.element = Some((None, Vec::new()));
            return Ok(());
        }
        let short = u8::try_from(tag)
            .map_err(|_| Error::invalid("net.frame", "a tag of more than one octet is in no shape"))?;
        if tag & CONSTRUCTED != 0 {
            self.tokens.push(FrameToken::Open(short));
        } else {
            self.element = Some((Some(short), Vec::new()));
        }
        Ok(())
    }

    fn close(&mut self) {
        self.tokens.push(match self.element.take() {
            Some((tag, pieces)) => FrameToken::Element { tag, pieces },
            None => FrameToken::Close,
        });
    }

    fn piece(&mut self, piece: Piece) -> Result<(), Error> {
        match &mut self.element {
            Some((_, pieces)) => pieces.push(piece),
            None if self.framing == Framing::Resp => self.tokens.push(FrameToken::Element {
                tag: None,
                pieces: vec![piece],
            }),
            None => {
                return Err(Error::invalid(
                    "net.frame",
                    "bytes stand inside of a primitive element",
                ));
            }
        }
        Ok(())
    }
}

impl HostState {
    /// The labels decide whether an encoding fits, never the bytes. Lengths are the host's, so nothing can break out of its place.
    fn encoded_secret(
        &mut self,
        secret: &Resource<Handle>,
        encoding: &str,
    ) -> Result<(Handle, Encoding, SecretBytes), Error> {
        let handle = self.handle(secret)?;
        let encoding = Encoding::named(encoding)?;
        encoding.check(&handle.labels().alphabet, "application/octet-stream")?;
        let most = encoding.most(handle.value().expose().len());
        self.hold(most)?;
        let mut written = Zeroizing::new(Vec::with_capacity(most));
        encoding.write(handle.value().expose(), &mut written);
        Ok((handle, encoding, SecretBytes::copy_of(&written)))
    }

    async fn send_frame(&mut self, frame: Frame, channel: Resource<Channel>) -> Result<(), Error> {
        self.permit_package(Capability::Net).await?;
        if let Some(wrong) = frame.wrong {
            return Err(wrong);
        }
        let Some(framing) = frame.framing else {
            return Err(Error::invalid("net.framing", "the frame has no framing"));
        };
        let (call, secrets) = (frame.call(framing, self)?, frame.secrets());
        self.hold_framing(&channel, framing)?;
        let Channel {
            carried,
            raw,
            used,
            peer,
            ..
        } = self.table.get(&channel)?;
        let (carried, raw, used, peer) = (*carried, *raw, *used, peer.clone());
        // Rule H2: an unfinished `ECHO $200` would swallow the login that comes after it.
        if raw && !secrets.is_empty() {
            let message = "bytes that are no frame went over this channel, and a secret could become a part of them: open a channel for it";
            return Err(self.deny("net.not-fresh", message).await);
        }
        let permitted = self.permit(&call, &secrets, &peer, carried).await?;
        // Rule H7: only the first answer on a channel is sure to be the login's own.
        if used && permitted.effect == ShapeEffect::Login {
            let message = "a login is the first frame on its channel, or the proof could be another frame's answer: open a channel for it";
            return Err(self.deny("net.not-fresh", message).await);
        }
        // RFC 4513 5.1.2: with an empty password a directory lets anybody in, as nobody.
        if framing == Framing::Ldap && secrets.iter().any(|secret| secret.value().expose().is_empty()) {
            let message =
                "a secret in it is empty: a bind with an empty password is one of nobody, and proves nothing";
            return Err(Error::invalid("ldap.empty-secret", message));
        }
        // Not before the shape is known: with text of the plugin's choice beside a secret, the limit would tell the secret's length.
        let encoded = frame
            .encoded
            .map(Encoded::finish)
            .transpose()
            .map_err(|error| Error::Answer(error.to_step_error()))?;
        let Some(encoded) = encoded else {
            return Err(Error::invalid("net.framing", "the frame has no framing"));
        };
        let begun = self.begin(permitted, &peer).await?;
        let mut stream = self.take_stream(&channel)?;
        let deadline = self.deadline();
        let written = if secrets.is_empty() {
            stream.write(encoded.expose(), deadline).await
        } else {
            stream.write_secret(&encoded, deadline).await
        };
        self.put_stream(&channel, stream)?;
        let channel = self.table.get_mut(&channel)?;
        channel.carried |= !secrets.is_empty();
        match written {
            Ok(()) => {
                channel.unanswered.push_back(begun);
                Ok(())
            }
            Err(error) => {
                let code = Some(error.code().into_owned());
                // Refused before a byte was written, or cut off after some.
                let effect = if error.kind() == ErrorKind::Denied {
                    Effect::None
                } else {
                    error.effect()
                };
                self.conclude(
                    begun,
                    Ended {
                        effect,
                        login: None,
                        code,
                    },
                )
                .await?;
                Err(self.not_sent(&peer, error).await)
            }
        }
    }
}

impl frames::HostFrame for HostState {
    async fn new(&mut self, framing: String) -> wasmtime::Result<Resource<Frame>> {
        Ok(self.table.push(Frame::new(&framing))?)
    }

    async fn open(&mut self, frame: Resource<Frame>, tag: u32) -> wasmtime::Result<()> {
        self.table
            .get_mut(&frame)?
            .add(Token::Open(tag), |encoded| encoded.open(tag));
        Ok(())
    }

    async fn close(&mut self, frame: Resource<Frame>) -> wasmtime::Result<()> {
        self.table.get_mut(&frame)?.add(Token::Close, Encoded::close);
        Ok(())
    }

    async fn bytes(&mut self, frame: Resource<Frame>, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.clear_bytes(&bytes, "a piece of a frame")
            .map_err(Error::into_trap)?;
        self.table
            .get_mut(&frame)?
            .add(Token::Bytes(bytes.clone()), |encoded| encoded.bytes(&bytes));
        Ok(())
    }

    async fn secret(
        &mut self,
        frame: Resource<Frame>,
        secret: Resource<Handle>,
        encoding: String,
    ) -> wasmtime::Result<()> {
        let secret = self.encoded_secret(&secret, &encoding);
        let frame = self.table.get_mut(&frame)?;
        match secret {
            Ok((handle, encoding, value)) => {
                frame.add(Token::Secret(handle, encoding), |encoded| encoded.secret(value));
            }
            Err(stop @ Error::Stop(_)) => return Err(stop.into_trap()),
            Err(error) => drop(frame.wrong.get_or_insert(error)),
        }
        Ok(())
    }

    async fn send(&mut self, frame: Resource<Frame>, channel: Resource<Channel>) -> Result<(), Error> {
        let frame = self.table.delete(frame)?;
        self.send_frame(frame, channel).await
    }

    async fn drop(&mut self, frame: Resource<Frame>) -> wasmtime::Result<()> {
        self.table.delete(frame)?;
        Ok(())
    }
}
