//! From what a grant says to what the dialler takes, and back from its errors.

use keywheel_model::address::ParseHostError;
use keywheel_model::{ErrorKind, SocketFolder, StepError};
use keywheel_policy::{Decision, Destination, Request, Transport};
use keywheel_target::dial::{Allow, Transport as Dialled};
use keywheel_target::{Error as TargetError, Outbound};

use crate::error::Error;
use crate::guard::Peer;
use crate::state::HostState;

/// One connection that a grant opens: the rule that names its host, and a dialler that asks the grant about each address.
pub(crate) struct Destined {
    pub(crate) outbound: Outbound,
    pub(crate) rules: [Allow; 1],
}

impl Destined {
    /// # Errors
    /// `invalid`: the host is not spelled as one.
    pub(crate) fn new(peer: &Peer, destination: Destination, outbound: &Outbound) -> Result<Self, Error> {
        let wrong = |error: ParseHostError| Error::Answer(TargetError::from(error).to_step_error());
        let host = || peer.host.parse().map_err(wrong);
        let rule = match peer.transport {
            Transport::Tls => Allow::host(&host()?, peer.port, Dialled::Tls),
            Transport::Plaintext => Allow::host(&host()?, peer.port, Dialled::Plaintext),
            Transport::Socket => {
                let folder: SocketFolder = peer.host.parse().map_err(wrong)?;
                Allow::socket(&folder, peer.port)
            }
        };
        Ok(Self {
            outbound: outbound.admitting(move |address| destination.admits(address)),
            rules: [rule],
        })
    }
}

impl HostState {
    /// The answer for an error of a target. A refusal is audited like every other one.
    pub(crate) async fn failed(&mut self, error: TargetError) -> Error {
        let StepError { code, message, .. } = error.to_step_error();
        match error.kind() {
            ErrorKind::Denied if !matches!(error, TargetError::Sql(_)) => {
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                self.deny(&code, format!("{message}{hint}")).await
            }
            _ => Error::Answer(error.to_step_error()),
        }
    }

    /// The same for a frame with a secret: one that is not sent for want of TLS comes with the lines that would allow it.
    pub(crate) async fn not_sent(&mut self, peer: &Peer, error: TargetError) -> Error {
        let request = Request::Connect {
            host: &peer.host,
            port: peer.port,
            transport: Transport::Plaintext,
        };
        match self.step.policy.decide(self.binding(), request) {
            Decision::Deny(denial) if error.is_want_of_tls() => {
                let message = format!("{peer}: {error}; use TLS, or, to allow it, {}", denial.hint());
                self.deny(&error.code(), message).await
            }
            _ => self.failed(error).await,
        }
    }

    /// The same for a connection that did not come to be: which one is said too.
    pub(crate) async fn cannot_open(&mut self, peer: &Peer, error: TargetError) -> Error {
        self.report.unopened = Some(error.code().into_owned());
        let failed = if let TargetError::Forbidden { address, .. } = &error {
            let request = Request::Connect {
                host: &peer.host,
                port: peer.port,
                transport: peer.transport,
            };
            let asked = format!("{} at {address}", request.words());
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            let message = format!("{}{hint}", error.to_step_error().message);
            self.deny_asked(&error.code(), message, asked).await
        } else {
            self.failed(error).await
        };
        match failed {
            Error::Answer(mut answer) if !answer.message.contains(&peer.to_string()) => {
                answer.message = format!("{peer}: {}", answer.message);
                Error::Answer(answer)
            }
            failed => failed,
        }
    }
}
