use std::collections::VecDeque;
use std::time::Duration;

use keywheel_manifest::{Capability, Framing};
use keywheel_model::Effect;
use keywheel_policy::{Binding, Decision, Destination, Request, Transport};
use keywheel_target::Deadline;
use keywheel_target::channel::Channel as Stream;
use keywheel_target::received::Cut;
use keywheel_target::tls::{TlsOptions as Handshake, Verify};
use wasmtime::component::Resource;

use super::Destined;
use crate::bindings::keywheel::net::tcp;
use crate::error::{Error, Stop};
use crate::guard::{Begun, Ended, Peer};
use crate::handle::Handle;
use crate::identities::Identity;
use crate::mask::{Hit, Reflected, Shown};
use crate::secrets::check_media_type;
use crate::state::HostState;

/// A byte stream to one host.
pub struct Channel {
    /// Taken out while it is used: a use that is cut off ends it.
    pub(super) stream: Option<Stream>,
    pub(super) peer: Peer,
    /// Whether a secret went over it.
    pub(super) carried: bool,
    /// Whether bytes were written that are no frame: they may be the beginning of a command, and the next frame its end.
    pub(super) raw: bool,
    /// Whether anything was read or written: what comes next need not be the answer to the next frame.
    pub(super) used: bool,
    /// What its first frame, or the first answer that was asked for, is encoded as.
    framing: Option<Framing>,
    /// What was sent and not answered yet, in order.
    pub(super) unanswered: VecDeque<Begun>,
    /// What was shown of it last.
    pub(super) shown: Shown,
}

impl Channel {
    fn new(stream: Stream, peer: Peer) -> Self {
        Self {
            stream: Some(stream),
            peer,
            carried: false,
            raw: false,
            used: false,
            framing: None,
            unanswered: VecDeque::new(),
            shown: Shown::default(),
        }
    }
}

/// How TLS is set up. Nothing is checked before it is used.
#[derive(Default)]
pub struct TlsOptions {
    server_name: String,
    trust: Option<String>,
    alpn: Vec<Vec<u8>>,
    inspect_only: bool,
    identity: bool,
}

impl TlsOptions {
    fn handshake(&self) -> Result<Handshake, Error> {
        if self.identity {
            return Err(Error::not_offered("`client-identity`"));
        }
        Ok(Handshake {
            server_name: self.server_name.clone(),
            trust: self.trust.clone(),
            identity: None,
            alpn: self.alpn.clone(),
            at_most_1_2: false,
            verify: if self.inspect_only {
                Verify::InspectOnly
            } else {
                Verify::Full
            },
        })
    }
}

impl HostState {
    /// What the guest says in it goes over the wire in the clear.
    fn handshake(&mut self, options: &Resource<TlsOptions>) -> Result<Handshake, Error> {
        let handshake = self.table.get(options)?.handshake()?;
        let said = std::iter::once(handshake.server_name.as_bytes())
            .chain(handshake.trust.as_deref().map(str::as_bytes))
            .chain(handshake.alpn.iter().map(Vec::as_slice));
        for text in said {
            self.clear_bytes(text, "the greeting of TLS")?;
        }
        Ok(handshake)
    }

    /// A certificate that another name has would do for whoever stands in between and owns that name (rule H12). Where it is only looked at, no secret
    /// follows.
    async fn hold_name(&mut self, handshake: &Handshake, peer: &Peer) -> Result<(), Error> {
        let plain = |name: &str| {
            name.trim_matches(['[', ']'])
                .trim_end_matches('.')
                .to_ascii_lowercase()
        };
        let is_looked_at = matches!(handshake.verify, Verify::InspectOnly);
        if is_looked_at || plain(&handshake.server_name) == plain(&peer.host) {
            return Ok(());
        }
        let message = format!("the certificate of {peer} is checked for that host, and for no other name");
        Err(self.deny("net.server-name", message).await)
    }

    pub(super) fn deadline_within(&self, timeout_ms: u32) -> Deadline {
        self.deadline().within(Duration::from_millis(timeout_ms.into()))
    }

    pub(super) fn take_stream(&mut self, channel: &Resource<Channel>) -> Result<Stream, Error> {
        let channel = self.table.get_mut(channel)?;
        channel.used = true;
        let stream = channel.stream.take();
        stream.ok_or_else(|| Error::invalid("net.closed", "the channel was closed by an earlier error"))
    }

    /// Read by another framing, an answer would end in the middle of itself or of the next one.
    pub(super) fn hold_framing(
        &mut self,
        channel: &Resource<Channel>,
        framing: Framing,
    ) -> Result<(), Error> {
        let held = *self.table.get_mut(channel)?.framing.get_or_insert(framing);
        if held == framing {
            return Ok(());
        }
        Err(Error::invalid(
            "net.framing",
            "the channel is used with another framing: one channel, one framing",
        ))
    }

    pub(super) fn put_stream(&mut self, channel: &Resource<Channel>, stream: Stream) -> Result<(), Error> {
        self.table.get_mut(channel)?.stream = Some(stream);
        Ok(())
    }

    /// A plain connection is opened by either word of a grant; what may go over it without TLS is another question.
    async fn plain_peer(&mut self, host: String, port: u16) -> Result<(Peer, Destination), Error> {
        let binding = Binding {
            plugin: &self.step.manifest.name,
            rotation: &self.step.rotation,
            configuration: &self.step.config,
            secret: &self.step.secret,
            inputs: &self.step.inputs,
        };
        let request = Request::Connect {
            host: &host,
            port,
            transport: Transport::Plaintext,
        };
        let destination = match self.step.policy.decide(binding, request) {
            Decision::Allow(permit) => permit.destination,
            Decision::Deny(_) => None,
        };
        if let Some(destination) = destination {
            return Ok((
                Peer {
                    host,
                    port,
                    transport: Transport::Plaintext,
                },
                destination,
            ));
        }
        let peer = Peer {
            host,
            port,
            transport: Transport::Tls,
        };
        let destination = self.permit_destination(&peer).await?;
        Ok((peer, destination))
    }

    async fn readable(&mut self, channel: &Resource<Channel>) -> Result<(), Error> {
        if self.table.get(channel)?.carried {
            let message = "a secret went over this channel: what comes back is read with `frames.receive`";
            return Err(self.deny("net.carried", message).await);
        }
        Ok(())
    }

    /// Scans what came, together with what was shown before it.
    pub(super) fn clear_stream(&mut self, channel: &Resource<Channel>, came: &[u8]) -> Result<(), Error> {
        let Err(Hit(secrets)) = self.table.get(channel)?.shown.look(&self.mask, came) else {
            return Ok(());
        };
        self.report.reflected = Some(Reflected {
            secrets,
            place: "what came over a channel".to_owned(),
        });
        Err(self.stop(Stop::Reflection))
    }

    /// Something came back: what was written without a declared frame has reached the target.
    pub(super) async fn answered(&mut self, channel: &Resource<Channel>) -> Result<(), Error> {
        for begun in std::mem::take(&mut self.table.get_mut(channel)?.unanswered) {
            self.conclude(begun, Ended::with(Effect::Applied)).await?;
        }
        Ok(())
    }

    /// Of what came only so much is shown, and so much is looked for a delimiter in, that no beginning of a secret can be in it (rule H4):
    /// how much the guest reads, and where it has it cut, tells nothing.
    async fn read_bytes(
        &mut self,
        channel: &Resource<Channel>,
        cut: &Cut,
        timeout_ms: u32,
    ) -> Result<Vec<u8>, Error> {
        self.readable(channel).await?;
        let deadline = self.deadline_within(timeout_ms);
        let mut stream = self.take_stream(channel)?;
        let read = stream.look_ahead(cut, self.mask.window(), deadline).await;
        let came = stream.waiting().to_vec();
        let bytes = read.map(|length| stream.take(length));
        self.put_stream(channel, stream)?;
        if bytes.is_ok() {
            self.answered(channel).await?;
        }
        self.clear_stream(channel, &came)?;
        match bytes {
            Ok(bytes) => {
                self.table.get_mut(channel)?.shown.add(&self.mask, &bytes);
                Ok(bytes)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }
}

impl tcp::Host for HostState {}

impl tcp::HostChannel for HostState {
    async fn connect(&mut self, host: String, port: u16, timeout: u32) -> Result<Resource<Channel>, Error> {
        self.permit_package(Capability::Net).await?;
        let (peer, destination) = self.plain_peer(host, port).await?;
        let destined = Destined::new(&peer, destination, &self.net.outbound)?;
        let deadline = self.deadline_within(timeout);
        match Stream::connect(&destined.outbound, &destined.rules, &peer.host, port, deadline).await {
            Ok(stream) => Ok(self.table.push(Channel::new(stream, peer))?),
            Err(error) => Err(self.cannot_open(&peer, error).await),
        }
    }

    async fn connect_tls(
        &mut self,
        host: String,
        port: u16,
        options: Resource<TlsOptions>,
        timeout: u32,
    ) -> Result<Resource<Channel>, Error> {
        self.permit_package(Capability::Net).await?;
        let handshake = self.handshake(&options)?;
        let peer = Peer {
            host,
            port,
            transport: Transport::Tls,
        };
        let destination = self.permit_destination(&peer).await?;
        self.hold_name(&handshake, &peer).await?;
        let destined = Destined::new(&peer, destination, &self.net.outbound)?;
        let deadline = self.deadline_within(timeout);
        match Stream::connect_tls(
            &destined.outbound,
            &destined.rules,
            &peer.host,
            port,
            &handshake,
            deadline,
        )
        .await
        {
            Ok(stream) => Ok(self.table.push(Channel::new(stream, peer))?),
            Err(error) => Err(self.cannot_open(&peer, error).await),
        }
    }

    async fn start_tls(
        &mut self,
        channel: Resource<Channel>,
        options: Resource<TlsOptions>,
    ) -> Result<(), Error> {
        self.permit_package(Capability::Net).await?;
        // What a greeting says goes over the wire as it is, and is no frame (rule H2).
        if self.table.get(&channel)?.carried {
            let message = "a secret went over this channel without TLS: open another one, and start TLS before the first secret";
            return Err(self.deny("net.carried", message).await);
        }
        let handshake = self.handshake(&options)?;
        let plain = &self.table.get(&channel)?.peer;
        let peer = Peer {
            host: plain.host.clone(),
            port: plain.port,
            transport: Transport::Tls,
        };
        let destination = self.permit_destination(&peer).await?;
        self.hold_name(&handshake, &peer).await?;
        let mut stream = self.take_stream(&channel)?;
        // The connection was dialled on another word of the grant.
        if !destination.admits(stream.address().ip()) {
            let message = format!(
                "{} is connected to {}, which its grant for TLS does not open",
                peer,
                stream.address().ip()
            );
            return Err(self.deny("net.forbidden-address", message).await);
        }
        let outbound = self.net.outbound.clone();
        match stream.start_tls(&outbound, &handshake, self.deadline()).await {
            Ok(()) => {
                let channel = self.table.get_mut(&channel)?;
                (channel.stream, channel.peer) = (Some(stream), peer);
                channel.raw = false;
                // What came before is not read as if it came through TLS; a frame that waits for its answer would take the next one's.
                channel.used = !channel.unanswered.is_empty();
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn read(&mut self, channel: Resource<Channel>, limit: u32, timeout: u32) -> Result<Vec<u8>, Error> {
        self.read_bytes(&channel, &Cut::Some(limit as usize), timeout)
            .await
    }

    async fn read_until(
        &mut self,
        channel: Resource<Channel>,
        delimiter: Vec<u8>,
        limit: u32,
        timeout: u32,
    ) -> Result<Vec<u8>, Error> {
        self.read_bytes(&channel, &Cut::Until(delimiter, limit as usize), timeout)
            .await
    }

    async fn read_secret(
        &mut self,
        channel: Resource<Channel>,
        length: u32,
        media_type: String,
        timeout: u32,
    ) -> Result<Resource<Handle>, Error> {
        check_media_type(&media_type)?;
        self.readable(&channel).await?;
        let deadline = self.deadline_within(timeout);
        let mut stream = self.take_stream(&channel)?;
        let read = stream.read_exact_secret(length as usize, deadline).await;
        self.put_stream(&channel, stream)?;
        match read {
            Ok(value) => {
                self.answered(&channel).await?;
                let captured = self.capture("net", value, &media_type).await?;
                self.hand_out(captured)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn write(&mut self, channel: Resource<Channel>, bytes: Vec<u8>) -> Result<(), Error> {
        self.permit_package(Capability::Net).await?;
        let Channel { carried, peer, .. } = self.table.get(&channel)?;
        let (carried, peer) = (*carried, peer.clone());
        if carried {
            let message = "a secret went over this channel: from then on every write is a frame that the manifest declares";
            return Err(self.deny("net.carried", message).await);
        }
        self.clear_bytes(&bytes, "bytes for a channel")?;
        let permitted = self.permit_undeclared("bytes", &peer).await?;
        let begun = self.begin(permitted, &peer).await?;
        let mut stream = self.take_stream(&channel)?;
        self.table.get_mut(&channel)?.raw = true;
        let written = stream.write(&bytes, self.deadline()).await;
        self.put_stream(&channel, stream)?;
        match written {
            Ok(()) => {
                self.table.get_mut(&channel)?.unanswered.push_back(begun);
                Ok(())
            }
            Err(error) => {
                let code = Some(error.code().into_owned());
                self.conclude(
                    begun,
                    Ended {
                        effect: error.effect(),
                        login: None,
                        code,
                    },
                )
                .await?;
                Err(self.failed(error).await)
            }
        }
    }

    /// Bytes that no shape describes: there is nothing that a grant could pin.
    async fn write_secret(
        &mut self,
        channel: Resource<Channel>,
        _secret: Resource<Handle>,
    ) -> Result<(), Error> {
        self.table.get(&channel)?;
        let message = "a secret goes over a channel inside of a frame that the manifest declares: use `frames`, and `[[frame]]` in manifest.toml";
        Err(self.deny("net.undeclared-secret", message).await)
    }

    async fn peer_certificates(&mut self, channel: Resource<Channel>) -> wasmtime::Result<Vec<Vec<u8>>> {
        let stream = self.table.get(&channel)?.stream.as_ref();
        Ok(stream
            .map(|stream| stream.peer_certificates().to_vec())
            .unwrap_or_default())
    }

    /// What was never answered stays in doubt.
    async fn drop(&mut self, channel: Resource<Channel>) -> wasmtime::Result<()> {
        self.table.delete(channel)?;
        Ok(())
    }
}

impl tcp::HostTlsOptions for HostState {
    async fn new(&mut self, server_name: String) -> wasmtime::Result<Resource<TlsOptions>> {
        Ok(self.table.push(TlsOptions {
            server_name,
            ..TlsOptions::default()
        })?)
    }

    async fn trust(&mut self, options: Resource<TlsOptions>, name: String) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.trust = Some(name);
        Ok(())
    }

    async fn client_identity(
        &mut self,
        options: Resource<TlsOptions>,
        _identity: Resource<Identity>,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.identity = true;
        Ok(())
    }

    async fn alpn(&mut self, options: Resource<TlsOptions>, protocol: String) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.alpn.push(protocol.into_bytes());
        Ok(())
    }

    async fn inspect_only(&mut self, options: Resource<TlsOptions>) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.inspect_only = true;
        Ok(())
    }

    async fn drop(&mut self, options: Resource<TlsOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}
