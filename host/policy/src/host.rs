use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use keywheel_manifest::{Pointer, expand};
use keywheel_model::SocketFolder;
use keywheel_model::address::{Class, Host, classify, closed_name};
use serde_json::Value;

/// How a connection is protected. Each word of a grant allows just that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TLS with a verified certificate, from the first byte or before the first secret.
    Tls,
    /// No TLS.
    Plaintext,
    /// A Unix socket of this machine: nothing of it goes over a network.
    Socket,
}

impl Transport {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Plaintext, Self::Socket];

    /// The one of a word in a grant.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_str() == word)
    }

    /// How a host is spoken to that is written so: the folder of a Unix socket by that alone.
    pub fn to(host: &str, plaintext: bool) -> Self {
        match plaintext {
            _ if SocketFolder::is_meant(host) => Self::Socket,
            true => Self::Plaintext,
            false => Self::Tls,
        }
    }

    /// The word in a grant.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Plaintext => "plaintext",
            Self::Socket => "socket",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A range of addresses. One address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address lies in it. IPv4 inside IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, width) = bits(self.address);
        let (address, other) = bits(address.to_canonical());
        let shift = width - u32::from(self.prefix);
        width == other && network.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = bits(self.address).1 == u32::from(self.prefix);
        if full {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| "not an address")?;
        let width = bits(address).1;
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| "not a prefix length")?
            }
            Some(_) => return Err("not a prefix length"),
        };
        if prefix > width || address.to_canonical() != address {
            return Err("a prefix length is at most 32 for IPv4 and 128 for IPv6; IPv4 is written as IPv4");
        }
        let below = bits(address).0 & !(u128::MAX.checked_shl(width - prefix).unwrap_or(0));
        if below != 0 {
            return Err("bits are set below the prefix: write the network's own address");
        }
        Ok(Self {
            address,
            prefix: u8::try_from(prefix).map_err(|_| "not a prefix length")?,
        })
    }
}

/// One entry of `hosts`: `db-7.internal:6379 tls`, `10.1.0.0/16:5432 tls`, `[fd12::]/64:5432 tls`, `{/host}:{/port} tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    text: String,
    host: HostPattern,
    port: PortPattern,
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Name(String),
    Network(Network),
    Socket(SocketFolder),
    Configured(Pointer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PortPattern {
    Fixed(u16),
    Configured(Pointer),
}

/// Why a text is no host rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}`: {message}; expected such as `db-7.internal:6379 tls`, `10.1.0.0/16:5432 tls`, `{{/host}}:{{/port}} tls`, or the word `plaintext` instead of `tls`; or, of a Unix socket, `/run/postgresql:5432 socket`"
)]
pub struct ParseHostRuleError {
    text: String,
    message: &'static str,
}

impl FromStr for HostRule {
    type Err = ParseHostRuleError;

    fn from_str(text: &str) -> Result<Self, ParseHostRuleError> {
        parse(text).map_err(|message| ParseHostRuleError {
            text: cut(text),
            message,
        })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As much of a text as helps in a message: it may be a megabyte long.
pub(crate) fn cut(text: &str) -> String {
    const CHARACTERS: usize = 80;
    text.chars()
        .take(CHARACTERS)
        .flat_map(char::escape_debug)
        .collect()
}

fn parse(text: &str) -> Result<HostRule, &'static str> {
    let (place, word) = text
        .rsplit_once(' ')
        .ok_or("the word `tls`, `plaintext` or `socket` is missing")?;
    let transport = Transport::of_word(word).ok_or("the last word is `tls`, `plaintext` or `socket`")?;
    let (host, port) = place.rsplit_once(':').ok_or("the port is missing")?;
    let port = match configured(port) {
        Some(pointer) => PortPattern::Configured(pointer?),
        None => PortPattern::Fixed(parse_port(port).ok_or("not a port")?),
    };
    let host = match configured(host) {
        Some(pointer) => HostPattern::Configured(pointer?),
        None => parse_place(host, transport)?,
    };
    Ok(HostRule {
        text: text.to_owned(),
        host,
        port,
        transport,
    })
}

fn configured(text: &str) -> Option<Result<Pointer, &'static str>> {
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    Some(inside.parse().map_err(|_| "not a pointer into the configuration"))
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// What the word says that it is.
fn parse_place(text: &str, transport: Transport) -> Result<HostPattern, &'static str> {
    match transport {
        Transport::Socket => {
            let folder: SocketFolder = text
                .parse()
                .map_err(|_| "not the folder of a Unix socket, from the root")?;
            Ok(HostPattern::Socket(folder))
        }
        Transport::Tls | Transport::Plaintext => parse_host(text),
    }
}

/// A literal address or network, or a name.
fn parse_host(text: &str) -> Result<HostPattern, &'static str> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.replacen(']', "", 1),
        None if text.contains(':') => return Err("an IPv6 address stands in brackets"),
        None => text.to_owned(),
    };
    if bare.contains(['/', ':']) || bare.parse::<IpAddr>().is_ok() {
        let network: Network = bare.parse()?;
        let is_one = bits(network.address).1 == u32::from(network.prefix);
        if is_one && matches!(classify(network.address), Class::Never(_)) {
            return Err("no grant opens this address (link-local, instance metadata, multicast, reserved)");
        }
        return Ok(HostPattern::Network(network));
    }
    let name = normal_name(text).ok_or("not a host name: letters, digits, `-` and `.`, no wildcard")?;
    if closed_name(&name).is_some() {
        return Err("no grant opens this name (instance metadata)");
    }
    Ok(HostPattern::Name(name))
}

/// Lower case, without the root's dot. `None` for what is no host name.
fn normal_name(text: &str) -> Option<String> {
    match text.strip_suffix('.').unwrap_or(text).parse() {
        Ok(Host::Name(name)) => Some(name),
        Ok(Host::Address(_)) | Err(_) => None,
    }
}

/// What a grant says of one host and port: which addresses may be dialled for it. The addresses that no grant can open
/// (metadata services, link-local, multicast) are refused where the connection is made, whatever stands here.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Destination {
    by_name: bool,
    loopback: bool,
    networks: Vec<Network>,
    socket: bool,
}

impl Destination {
    /// Whether an address that the name resolved to may be dialled. A name opens public and private ranges, since that is
    /// where databases live; loopback is open only to a literal address or to `localhost`.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let unspecified = address.is_unspecified()
            || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4 == Ipv4Addr::BROADCAST);
        let named = self.by_name && (self.loopback || !address.is_loopback());
        !unspecified && (named || self.networks.iter().any(|network| network.contains(address)))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.by_name || self.socket || !self.networks.is_empty()
    }

    /// Both must allow: what two grants have in common.
    pub(crate) fn both(rules: &[HostRule], more: Option<&[HostRule]>, place: &Place<'_>) -> Self {
        let first = Self::of(rules, place);
        let Some(second) = more.map(|rules| Self::of(rules, place)) else {
            return first;
        };
        let mut networks: Vec<Network> = Vec::new();
        for network in &first.networks {
            for other in &second.networks {
                let narrower = if network.prefix >= other.prefix {
                    network
                } else {
                    other
                };
                if network.contains(other.address) || other.contains(network.address) {
                    networks.push(*narrower);
                }
            }
        }
        if first.by_name && !second.by_name {
            networks.extend(&second.networks);
        }
        if second.by_name && !first.by_name {
            networks.extend(&first.networks);
        }
        Self {
            by_name: first.by_name && second.by_name,
            loopback: first.loopback && second.loopback,
            networks,
            socket: first.socket && second.socket,
        }
    }

    fn of(rules: &[HostRule], place: &Place<'_>) -> Self {
        let mut destination = Self::default();
        let literal: Option<IpAddr> = place
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok();
        let literal = literal.map(|address| address.to_canonical());
        let name = normal_name(place.host);
        for rule in rules.iter().filter(|rule| rule.transport == place.transport) {
            for (host, port) in rule.resolved(place.configuration) {
                if port != place.port {
                    continue;
                }
                match (host, literal, &name) {
                    (HostPattern::Network(network), Some(address), _) if network.contains(address) => {
                        destination.networks.push(Network {
                            address,
                            prefix: if address.is_ipv4() { 32 } else { 128 },
                        });
                    }
                    (HostPattern::Socket(granted), ..) if granted.as_str() == place.host => {
                        destination.socket = true;
                    }
                    (HostPattern::Name(granted), None, Some(name)) if granted == *name => {
                        destination.by_name = true;
                        destination.loopback |= granted == "localhost" || granted.ends_with(".localhost");
                    }
                    // A range also covers names, but only those that the operator wrote: the guest must not have names
                    // of its own looked up.
                    (HostPattern::Network(network), None, Some(name))
                        if rule.is_fixed() && has_name(place.configuration, name) =>
                    {
                        destination.networks.push(network);
                    }
                    _ => {}
                }
            }
        }
        destination
    }
}

fn has_name(configuration: &Value, name: &str) -> bool {
    match configuration {
        Value::String(text) => normal_name(text).as_deref() == Some(name),
        Value::Array(items) => items.iter().any(|item| has_name(item, name)),
        Value::Object(map) => map.values().any(|value| has_name(value, name)),
        _ => false,
    }
}

/// What is about to be dialled.
pub(crate) struct Place<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) transport: Transport,
    pub(crate) configuration: &'a Value,
}

impl HostRule {
    /// The word.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    fn is_fixed(&self) -> bool {
        !matches!(self.host, HostPattern::Configured(_))
    }

    /// With the configuration's values in it: none when they are missing or are no host and port.
    fn resolved(&self, configuration: &Value) -> Vec<(HostPattern, u16)> {
        let mut pointers = Vec::new();
        if let HostPattern::Configured(pointer) = &self.host {
            pointers.push(pointer.clone());
        }
        if let PortPattern::Configured(pointer) = &self.port {
            pointers.push(pointer.clone());
        }
        let resolve = |mut row: Vec<String>| {
            let port = match &self.port {
                PortPattern::Fixed(port) => *port,
                PortPattern::Configured(_) => parse_port(&row.pop()?)?,
            };
            let host = match &self.host {
                // A configured value is one host, never a range.
                HostPattern::Configured(_) if self.transport == Transport::Socket => {
                    parse_place(&row.pop()?, self.transport).ok()?
                }
                HostPattern::Configured(_) => {
                    let value = row.pop()?;
                    let bracketed = if value.contains(':') && !value.starts_with('[') {
                        format!("[{value}]")
                    } else {
                        value
                    };
                    parse_host(&bracketed).ok().filter(|_| !bracketed.contains('/'))?
                }
                fixed => fixed.clone(),
            };
            Some((host, port))
        };
        expand(&pointers, configuration)
            .into_iter()
            .filter_map(resolve)
            .collect()
    }
}

impl HostRule {
    /// Whether it opens anything to this configuration: one that is for servers which a rotation need not have may open nothing.
    pub fn opens_some(&self, configuration: &Value) -> bool {
        !self.resolved(configuration).is_empty()
    }

    /// The rule with the configuration's values, for people.
    pub fn explain(&self, configuration: &Value) -> Vec<String> {
        let show = |(host, port): (HostPattern, u16)| match host {
            HostPattern::Network(network) => format!("{network} port {port} {}", self.transport),
            HostPattern::Name(name) => format!("{name} port {port} {}", self.transport),
            HostPattern::Socket(folder) => format!("{folder} port {port} {}", self.transport),
            HostPattern::Configured(_) => self.text.clone(),
        };
        let resolved: Vec<String> = self.resolved(configuration).into_iter().map(show).collect();
        if resolved.is_empty() {
            vec![format!("{} (nothing in this configuration)", self.text)]
        } else {
            resolved
        }
    }
}
