use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use keywheel_model::SocketFolder;

use super::Host;

/// How a host may be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// With TLS; before it, nothing secret.
    Tls,
    /// Also without.
    Plaintext,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    base: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// The block of `prefix_bits` around `base`; none when there are more bits than the family has.
    pub fn new(base: IpAddr, prefix_bits: u8) -> Option<Self> {
        let most = if base.is_ipv4() { 32 } else { 128 };
        (prefix_bits <= most).then_some(Self { base, prefix_bits })
    }

    /// Whether the address is in it. IPv4-mapped addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shifted = |value: u128, width: u8| {
            value
                .checked_shr(u32::from(width - self.prefix_bits))
                .unwrap_or(0)
        };
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(a)) => {
                shifted(u32::from(base).into(), 32) == shifted(u32::from(a).into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(a)) => shifted(base.into(), 128) == shifted(a.into(), 128),
            _ => false,
        }
    }
}

/// Which hosts a rule names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostRule {
    /// One name, exactly.
    Name(String),
    /// Every name below this one (`*.example.com` has `example.com`); opens public addresses only.
    Below(String),
    /// Addresses. A name may be resolved into them only if another rule has the name.
    Network(Network),
    /// A server of this machine, by the folder of its Unix socket; nothing that goes over a network.
    Socket(SocketFolder),
}

/// One rule of what may be dialled. Text: `db-7.internal:6379 tls`, `*.example.com:443 tls`, `10.1.0.0/16:5432 tls`, `[fd12::]/16:5432 plaintext`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allow {
    /// The hosts.
    pub host: HostRule,
    /// The one port.
    pub port: u16,
    /// How.
    pub transport: Transport,
}

impl Allow {
    /// A rule for one host, by name or address.
    pub fn host(host: &Host, port: u16, transport: Transport) -> Self {
        let host = match host {
            Host::Name(name) => HostRule::Name(name.clone()),
            Host::Address(address) => HostRule::Network(Network {
                base: *address,
                prefix_bits: if address.is_ipv4() { 32 } else { 128 },
            }),
        };
        Self {
            host,
            port,
            transport,
        }
    }

    /// A rule for the Unix socket of one port in a folder.
    pub fn socket(folder: &SocketFolder, port: u16) -> Self {
        Self {
            host: HostRule::Socket(folder.clone()),
            port,
            transport: Transport::Plaintext,
        }
    }

    /// Whether the rule names this socket.
    pub(crate) fn names_socket(&self, folder: &SocketFolder, port: u16) -> bool {
        self.port == port && matches!(&self.host, HostRule::Socket(named) if named == folder)
    }

    /// Whether the rule covers the host as it was asked for, before anything is resolved.
    pub fn names(&self, host: &Host, port: u16) -> bool {
        self.port == port
            && match (&self.host, host) {
                (HostRule::Name(rule), Host::Name(name)) => rule == name,
                (HostRule::Below(parent), Host::Name(name)) => name
                    .strip_suffix(parent.as_str())
                    .is_some_and(|head| head.len() > 1 && head.ends_with('.')),
                (HostRule::Network(network), Host::Address(address)) => network.contains(*address),
                _ => false,
            }
    }

    /// Whether the rule names exactly this host, not by a pattern.
    pub(crate) fn names_exactly(&self, host: &Host, port: u16) -> bool {
        !matches!(self.host, HostRule::Below(_)) && self.names(host, port)
    }

    /// Whether the rule names the address.
    pub(crate) fn names_address(&self, address: IpAddr, port: u16) -> bool {
        self.port == port && matches!(&self.host, HostRule::Network(network) if network.contains(address))
    }
}

/// Why a text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not `HOST:PORT tls` or `HOST:PORT plaintext`: {why}")]
pub struct ParseAllowError {
    text: String,
    why: &'static str,
}

impl FromStr for Allow {
    type Err = ParseAllowError;

    fn from_str(text: &str) -> Result<Self, ParseAllowError> {
        let refuse = |why| ParseAllowError {
            text: text.chars().take(80).collect(),
            why,
        };
        let (place, transport) = text
            .split_once(' ')
            .ok_or_else(|| refuse("the transport is missing"))?;
        let transport = match transport {
            "tls" => Transport::Tls,
            "plaintext" => Transport::Plaintext,
            _ => return Err(refuse("the transport is `tls` or `plaintext`")),
        };
        let (host, port) = place
            .rsplit_once(':')
            .ok_or_else(|| refuse("the port is missing"))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| refuse("the port is 1 to 65535"))?;
        let host = parse_host(host)
            .ok_or_else(|| refuse("the host is a name, `*.` and a name, an address, or a network"))?;
        Ok(Self {
            host,
            port,
            transport,
        })
    }
}

fn parse_host(text: &str) -> Option<HostRule> {
    if let Some(parent) = text.strip_prefix("*.") {
        return match parent.parse().ok()? {
            Host::Name(name) => Some(HostRule::Below(name)),
            Host::Address(_) => None,
        };
    }
    if let Some((base, bits)) = text.rsplit_once('/') {
        let Host::Address(base) = base.parse().ok()? else {
            return None;
        };
        return Network::new(base, bits.parse().ok()?).map(HostRule::Network);
    }
    Some(Allow::host(&text.parse().ok()?, 1, Transport::Tls).host)
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostRule::Name(name) => write!(f, "{name}")?,
            HostRule::Socket(folder) => return write!(f, "{folder}:{} socket", self.port),
            HostRule::Below(name) => write!(f, "*.{name}")?,
            HostRule::Network(Network {
                base: IpAddr::V4(base),
                prefix_bits: 32,
            }) => write!(f, "{base}")?,
            HostRule::Network(Network {
                base: IpAddr::V6(base),
                prefix_bits: 128,
            }) => write!(f, "[{base}]")?,
            HostRule::Network(Network {
                base: IpAddr::V4(base),
                prefix_bits,
            }) => write!(f, "{base}/{prefix_bits}")?,
            HostRule::Network(Network {
                base: IpAddr::V6(base),
                prefix_bits,
            }) => write!(f, "[{base}]/{prefix_bits}")?,
        }
        let transport = if self.transport == Transport::Tls {
            "tls"
        } else {
            "plaintext"
        };
        write!(f, ":{} {transport}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Allow {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        for text in [
            "db-7.internal:6379 tls",
            "*.example.com:443 tls",
            "10.1.0.0/16:5432 tls",
            "127.0.0.1:1 plaintext",
            "[fd12::]/16:5432 tls",
            "[::1]:5432 tls",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_rule_is_refused() {
        for text in [
            "db:1",
            "db tls",
            "db:0 tls",
            "db:99999 tls",
            "*:1 tls",
            "db:1 TLS",
            "10.0.0.0/33:1 tls",
            "a.b/8:1 tls",
            "*.10.0.0.1:1 tls",
            "db.:1 tls",
            "2130706433:1 tls",
        ] {
            assert!(text.parse::<Allow>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_covers_its_host_and_port_and_nothing_beside() {
        let names = |rule_text: &str, host: &str, port| rule(rule_text).names(&host.parse().unwrap(), port);
        assert!(names("db.x:1 tls", "DB.x", 1));
        assert!(!names("db.x:1 tls", "db.x", 2));
        assert!(!names("db.x:1 tls", "a.db.x", 1));
        assert!(names("*.x.y:1 tls", "a.x.y", 1));
        assert!(!names("*.x.y:1 tls", "x.y", 1));
        assert!(!names("*.x.y:1 tls", "ax.y", 1));
        assert!(names("10.1.0.0/16:1 tls", "10.1.255.1", 1));
        assert!(names("10.1.0.0/16:1 tls", "::ffff:10.1.0.1", 1));
        assert!(!names("10.1.0.0/16:1 tls", "10.2.0.1", 1));
        assert!(!names("10.1.0.0/16:1 tls", "db.x", 1));
        assert!(names("0.0.0.0/0:1 tls", "9.9.9.9", 1));
        assert!(names("[::]/0:1 tls", "2606::1", 1));
    }
}
