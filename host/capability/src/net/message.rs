//! The answers to frames: cut down to what the manifest says of the frame that each one answers, then scanned, then shown.

use keywheel_manifest::{Framing, Reply as Visible, ShapeEffect};
use keywheel_model::Effect;
use keywheel_target::channel::Channel as Stream;
use keywheel_target::ldap::{self, Bound};
use keywheel_target::resp::{self, Bounds, Reply, Status};
use keywheel_target::{Deadline, Error as TargetError};
use wasmtime::component::Resource;

use super::channel::Channel;
use crate::bindings::keywheel::net::frames;
use crate::error::Error;
use crate::guard::Ended;
use crate::report::LoginResult;
use crate::state::HostState;

/// What stands for an answer of which nothing is shown: the null bulk string of RESP.
const NOTHING: &[u8] = b"$-1\r\n";

/// A whole answer.
enum Answer {
    Resp(Reply),
    Ber(Vec<u8>),
    Ldap(ldap::Answer),
}

impl Answer {
    /// Whether no more of the same answer follows.
    fn is_last(&self) -> bool {
        !matches!(self, Self::Ldap(answer) if !answer.is_last())
    }

    /// What became of the call. A server that answers a command with an error has not done it; of BER the host knows no results.
    fn effect(&self) -> Effect {
        match self {
            Self::Ldap(answer) => answer.effect(),
            Self::Resp(Reply::Error(_)) => Effect::None,
            _ => Effect::Applied,
        }
    }

    fn code(&self) -> Option<String> {
        match self {
            Self::Resp(reply) => match reply.status() {
                Status::Error(word) => Some(format!("resp.{}", word.to_ascii_lowercase())),
                _ => None,
            },
            Self::Ber(_) => None,
            Self::Ldap(answer) => answer
                .code()
                .filter(|code| *code != 0)
                .map(|code| format!("ldap.{code}")),
        }
    }

    /// What a login says of the credential. Redis and Valkey (`AUTH`): `WRONGPASS` is also what a disabled user gets. LDAP: a simple bind.
    fn login(&self) -> LoginResult {
        let reply = match self {
            Self::Resp(reply) => reply,
            Self::Ber(_) => return LoginResult::Unknown,
            Self::Ldap(answer) => {
                return match answer.bound() {
                    Bound::Accepted => LoginResult::Accepted,
                    Bound::MustChange => LoginResult::Limited,
                    Bound::Rejected => LoginResult::Rejected,
                    Bound::Account => LoginResult::Account,
                    Bound::Unknown => LoginResult::Unknown,
                };
            }
        };
        match reply.status() {
            Status::Simple(word) if word == "OK" => LoginResult::Accepted,
            Status::Error(word) if word == "WRONGPASS" => LoginResult::Rejected,
            _ => LoginResult::Unknown,
        }
    }

    /// The part of it that the guest may see.
    fn visible(&self, how: Visible) -> Vec<u8> {
        match (how, self) {
            (Visible::All, Self::Resp(reply)) => {
                let mut out = Vec::new();
                encode(reply, &mut out);
                out
            }
            (Visible::All, Self::Ber(message)) => message.clone(),
            (Visible::All, Self::Ldap(answer)) => answer.whole().to_vec(),
            (Visible::Status, Self::Ldap(answer)) => answer.status(),
            (Visible::Status, Self::Resp(reply)) => match reply.status() {
                Status::Simple(word) => format!("+{word}\r\n").into_bytes(),
                Status::Error(word) => format!("-{word}\r\n").into_bytes(),
                Status::Other => NOTHING.to_vec(),
            },
            (Visible::None, Self::Resp(_)) => NOTHING.to_vec(),
            (Visible::Status | Visible::None, Self::Ber(_)) | (Visible::None, Self::Ldap(_)) => Vec::new(),
        }
    }

    /// The values in it, one by one: a secret that is cut over several is found too.
    fn cells(&self) -> Vec<&[u8]> {
        let mut cells = Vec::new();
        match self {
            Self::Resp(reply) => collect(reply, &mut cells),
            Self::Ber(_) => {}
            Self::Ldap(answer) => cells = answer.values(),
        }
        cells
    }
}

fn collect<'r>(reply: &'r Reply, cells: &mut Vec<&'r [u8]>) {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => cells.push(text.as_bytes()),
        Reply::Bulk(Some(bytes)) => cells.push(bytes),
        Reply::Array(Some(items)) => items.iter().for_each(|item| collect(item, cells)),
        _ => {}
    }
}

fn encode(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Simple(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
        Reply::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
        Reply::Integer(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Reply::Bulk(None) => out.extend_from_slice(NOTHING),
        Reply::Array(None) => out.extend_from_slice(b"*-1\r\n"),
        Reply::Bulk(Some(bytes)) => {
            out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Array(Some(items)) => {
            out.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
            for item in items {
                encode(item, out);
            }
        }
    }
}

async fn read(
    stream: &mut Stream,
    framing: Framing,
    limit: usize,
    deadline: Deadline,
) -> Result<Answer, TargetError> {
    if framing == Framing::Resp {
        let bounds = Bounds {
            bytes: limit,
            ..Bounds::default()
        };
        return resp::read_reply(stream, bounds, deadline).await.map(Answer::Resp);
    }
    if framing == Framing::Ldap {
        return ldap::read_answer(stream, limit, deadline).await.map(Answer::Ldap);
    }
    let message = ldap::read_element(stream, limit, deadline).await?;
    stream.settle();
    Ok(Answer::Ber(message))
}

impl HostState {
    /// Notes what an answer says of the call that it answers, and how much of it may be shown.
    async fn note_answer(&mut self, channel: &Resource<Channel>, answer: &Answer) -> Result<Visible, Error> {
        let Channel {
            unanswered, carried, ..
        } = self.table.get_mut(channel)?;
        let answered = if answer.is_last() {
            unanswered.pop_front()
        } else if let Some(begun) = unanswered.front() {
            return Ok(begun.call().reply);
        } else {
            None
        };
        let Some(begun) = answered else {
            // Nobody asked for it: on a channel that carried a secret it may be anything.
            return Ok(if *carried { Visible::None } else { Visible::All });
        };
        let visible = begun.call().reply;
        let login = (begun.call().effect == ShapeEffect::Login).then(|| answer.login());
        self.conclude(
            begun,
            Ended {
                effect: answer.effect(),
                login,
                code: answer.code(),
            },
        )
        .await?;
        Ok(visible)
    }
}

impl frames::Host for HostState {
    async fn receive(
        &mut self,
        channel: Resource<Channel>,
        framing: String,
        limit: u32,
        timeout: u32,
    ) -> Result<Vec<u8>, Error> {
        let framing = framing.parse().map_err(|_| {
            Error::invalid(
                "net.framing",
                "the host has no such framing; it has `resp`, `ber` and `ldap`",
            )
        })?;
        self.hold_framing(&channel, framing)?;
        let deadline = self.deadline_within(timeout);
        let Channel { raw, carried, .. } = self.table.get(&channel)?;
        // The peer need not speak in this framing: what looks like the end of an answer may be in the middle of a secret.
        let cut_anywhere = *raw || framing != Framing::Resp && !*carried;
        let mut stream = self.take_stream(&channel)?;
        match read(&mut stream, framing, limit as usize, deadline).await {
            Ok(answer) => {
                let mut after = Vec::new();
                if cut_anywhere {
                    stream.look_beyond(self.mask.window()).await;
                    after = stream.waiting().to_vec();
                }
                self.put_stream(&channel, stream)?;
                let visible = self.note_answer(&channel, &answer).await?;
                let shown = answer.visible(visible);
                if visible == Visible::All {
                    self.clear_cells(answer.cells(), "an answer to a frame")?;
                }
                self.clear_bytes(&shown, "an answer to a frame")?;
                if cut_anywhere {
                    self.clear_stream(&channel, &[shown.as_slice(), &after].concat())?;
                    self.table.get_mut(&channel)?.shown.add(&self.mask, &shown);
                }
                Ok(shown)
            }
            // The stream may stand in the middle of an answer: it is not used any more, and what was sent stays in doubt.
            Err(error) => Err(self.failed(error).await),
        }
    }
}
