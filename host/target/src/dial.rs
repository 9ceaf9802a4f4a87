//! What may be dialled, and dialling it. A name is resolved once; every address is checked; exactly a checked address is dialled.
//!
//! An address that a rule can never open: this network, link-local, cloud metadata, multicast, reserved, and every IPv6 form that
//! wraps one of those (mapped, NAT64, 6to4, ...). Private networks are opened by a rule with the exact host name or a network;
//! loopback only by a rule that names it (`localhost`, an address or a network).

mod allow;
mod socket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use keywheel_model::Effect;
use tokio::net::TcpStream;

pub use allow::{Allow, HostRule, Network, ParseAllowError, Transport};
pub use keywheel_model::address::{Class, Host, classify};

use crate::{Deadline, Error};

pub(crate) const PRIVATE: &str = "a private address that no rule names";
/// Why a name does not lead to this machine.
pub const LOOPBACK: &str = "the loopback address, where no name but `localhost` leads";

/// Most addresses of one name that are looked at.
const ADDRESSES: usize = 16;

/// Turns a name into addresses. A trait so that a test can answer like a hostile DNS server.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of `name`, in the order in which they should be tried.
    ///
    /// # Errors
    /// As the resolver says.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0))
            .await?
            .map(|address| address.ip())
            .collect())
    }
}

/// A connection to a checked address.
#[derive(Debug)]
pub struct Dialled {
    /// The stream.
    pub stream: TcpStream,
    /// What was dialled: the audit row's address.
    pub address: SocketAddr,
    /// The host as it was asked for, in its canonical spelling.
    pub host: String,
    /// Whether a rule allows plaintext here; otherwise nothing secret may pass before TLS.
    pub plaintext_allowed: bool,
}

/// Dials what rules allow.
#[derive(Clone)]
pub struct Dialer {
    resolver: Arc<dyn Resolver>,
    closed: Arc<[SocketAddr]>,
    admits: Option<Admits>,
}

/// Says of an address whether it may be dialled.
type Admits = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

impl Dialer {
    /// With the operating system's resolver.
    pub fn system() -> Self {
        Self::with_resolver(Arc::new(SystemResolver))
    }

    /// With another resolver.
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Self {
        Self {
            resolver,
            closed: Arc::new([]),
            admits: None,
        }
    }

    /// The same with one more say in every address: what the rules open is dialled only if `admits` agrees.
    #[must_use]
    pub fn admitting(&self, admits: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self {
            admits: Some(Arc::new(admits)),
            ..self.clone()
        }
    }

    /// Closes these, whatever the rules say: the host's own listeners, the endpoint of a managed identity. Port 0 closes every port.
    #[must_use]
    pub fn closing(mut self, closed: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.closed = closed
            .into_iter()
            .map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()))
            .collect();
        self
    }

    /// Connects to `host`:`port`, if one of `rules` opens it.
    ///
    /// # Errors
    /// [`Error::Host`], [`Error::NotAllowed`] (nothing is resolved), [`Error::Unresolved`], [`Error::Forbidden`], [`Error::Unreachable`],
    /// [`Error::Timeout`]; all without effect.
    pub async fn dial(
        &self,
        rules: &[Allow],
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Dialled, Error> {
        let asked: Host = host.parse()?;
        let plaintext_allowed = permits(rules, &asked, port)?;
        let addresses = self.checked(rules, &asked, port, deadline).await?;
        let (stream, address) = connect_first(&addresses, &asked, port, deadline).await?;
        stream.set_nodelay(true).map_err(|source| Error::Unreachable {
            host: asked.to_string(),
            port,
            source,
        })?;
        tracing::debug!(host = %asked, %address, "connected");
        Ok(Dialled {
            stream,
            address,
            host: asked.to_string(),
            plaintext_allowed,
        })
    }

    /// The checked addresses of `host`, in the order in which [`Dialer::dial`] tries them; connects to nothing.
    ///
    /// # Errors
    /// As [`Dialer::dial`], except what comes of connecting.
    pub async fn addresses(
        &self,
        rules: &[Allow],
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Error> {
        let asked: Host = host.parse()?;
        permits(rules, &asked, port)?;
        self.checked(rules, &asked, port, deadline).await
    }

    /// Whether `rules` would have opened the address that a kept connection to `host` leads to.
    ///
    /// # Errors
    /// As [`Dialer::dial`] would refuse it.
    pub fn recheck(&self, rules: &[Allow], host: &str, dialled: SocketAddr) -> Result<(), Error> {
        let asked: Host = host.parse()?;
        permits(rules, &asked, dialled.port())?;
        let refused = self.check(rules, &asked, dialled).err();
        refused.map_or(Ok(()), |why| {
            Err(Error::Forbidden {
                host: asked.to_string(),
                address: dialled.ip(),
                why,
            })
        })
    }

    async fn checked(
        &self,
        rules: &[Allow],
        host: &Host,
        port: u16,
        deadline: Deadline,
    ) -> Result<Vec<SocketAddr>, Error> {
        let found = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => deadline
                .run(
                    "resolving the host's name",
                    Effect::None,
                    self.resolver.resolve(name),
                )
                .await?
                .map_err(|source| Error::Unresolved {
                    host: name.clone(),
                    source,
                })?,
        };
        let mut refused = None;
        let mut open: Vec<(SocketAddr, Class)> = Vec::new();
        for address in found.into_iter().take(ADDRESSES).map(|a| a.to_canonical()) {
            let dialled = SocketAddr::new(address, port);
            match self.check(rules, host, dialled) {
                Ok(class) if !open.iter().any(|(seen, _)| *seen == dialled) => open.push((dialled, class)),
                Ok(_) => {}
                Err(why) => refused = refused.or(Some((address, why))),
            }
        }
        // An answer that mixes public and private addresses is how rebinding looks: the private ones count only where a network is named.
        if open.iter().any(|(_, class)| *class == Class::Public) {
            open.retain(|(dialled, class)| {
                *class == Class::Public || rules.iter().any(|rule| rule.names_address(dialled.ip(), port))
            });
        }
        match (open.is_empty(), refused) {
            (true, Some((address, why))) => Err(Error::Forbidden {
                host: host.to_string(),
                address,
                why,
            }),
            (true, None) => {
                let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                Err(Error::Unresolved {
                    host: host.to_string(),
                    source,
                })
            }
            (false, _) => Ok(open.into_iter().map(|(dialled, _)| dialled).collect()),
        }
    }

    fn check(&self, rules: &[Allow], host: &Host, dialled: SocketAddr) -> Result<Class, &'static str> {
        if self.closed.iter().any(|closed| {
            closed.ip() == dialled.ip() && (closed.port() == 0 || closed.port() == dialled.port())
        }) {
            return Err("the host keeps it closed");
        }
        if self.admits.as_ref().is_some_and(|admits| !admits(dialled.ip())) {
            return Err("no grant opens it");
        }
        let class = classify(dialled.ip());
        let opened = match class {
            Class::Never(why) => return Err(why),
            Class::Public => true,
            Class::Private => rules.iter().any(|r| {
                r.names_exactly(host, dialled.port()) || r.names_address(dialled.ip(), dialled.port())
            }),
            Class::Loopback => {
                host.is_localhost() && rules.iter().any(|r| r.names_exactly(host, dialled.port()))
                    || rules
                        .iter()
                        .any(|r| r.names_address(dialled.ip(), dialled.port()))
            }
        };
        match (opened, class) {
            (true, class) => Ok(class),
            (false, Class::Loopback) => Err(LOOPBACK),
            (false, _) => Err(PRIVATE),
        }
    }
}

/// Whether a rule names the host at all, and whether one of them allows plaintext.
fn permits(rules: &[Allow], host: &Host, port: u16) -> Result<bool, Error> {
    let mut named = rules.iter().filter(|rule| rule.names(host, port)).peekable();
    if named.peek().is_none() {
        return Err(Error::NotAllowed {
            host: host.to_string(),
            port,
        });
    }
    Ok(named.any(|rule| rule.transport == Transport::Plaintext))
}

/// Tries the addresses in order, each with an equal share of what is left.
async fn connect_first(
    addresses: &[SocketAddr],
    host: &Host,
    port: u16,
    deadline: Deadline,
) -> Result<(TcpStream, SocketAddr), Error> {
    let mut last = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(1).max(1);
        let share = deadline.within(deadline.remaining() / left);
        match share
            .run(
                crate::error::CONNECTING,
                Effect::None,
                TcpStream::connect(address),
            )
            .await
        {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(source)) => {
                last = Some(Error::Unreachable {
                    host: host.to_string(),
                    port,
                    source,
                });
            }
            Err(timeout) => last = Some(timeout),
        }
    }
    Err(last.unwrap_or(Error::Timeout {
        doing: crate::error::CONNECTING,
        effect: Effect::None,
    }))
}
