//! Where traces go.

use keywheel_model::address::Host;

use super::Resolver;
use crate::config::Traces;
use crate::document::At;
use crate::raw;

/// What OTLP has for traces where nothing else is said.
const PATH: &str = "/v1/traces";

impl Resolver {
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let raw: raw::Traces = self.section("/traces")?;
        let known = self.document.json().pointer("/trust");
        if let Some(trust) = &raw.trust
            && known.is_none_or(|known| known.get(trust).is_none())
        {
            self.report(
                At::Value("/traces/trust"),
                "config.value",
                format!("no trust set has the name {trust:?}"),
                Some(format!("`[trust.{trust}]` with `pem = [...]` makes one")),
            );
        }
        match parse(&raw.endpoint) {
            Ok(parsed) => Some(Traces {
                trust: raw.trust,
                ..parsed
            }),
            Err(what) => {
                self.report(
                    At::Value("/traces/endpoint"),
                    "config.value",
                    format!("it {what}"),
                    Some("a URL with a port, like \"http://127.0.0.1:4318\"; what a collector asks for beside that, a collector of your own adds".to_owned()),
                );
                None
            }
        }
    }
}

fn parse(text: &str) -> Result<Traces, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err("is neither http nor https"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("names a user: what a collector asks for to let somebody in does not belong here");
    }
    let (host, port) = authority.rsplit_once(':').ok_or("has no port")?;
    let host = host
        .parse::<Host>()
        .map_err(|_| "has no host that can be dialled")?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if path.len() > 255 || !path.bytes().all(is_plain) {
        return Err("has a path of other than letters, digits, `-`, `.`, `_` and `~`, or a query");
    }
    let path = if path.trim_matches('/').is_empty() {
        PATH
    } else {
        path
    };
    Ok(Traces {
        tls,
        host,
        port: port.ok_or("has no port")?,
        path: path.to_owned(),
        trust: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_a_url_with_a_port_and_nothing_secret() {
        for (text, whole) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            (
                "https://otel.internal:443/",
                "https://otel.internal:443/v1/traces",
            ),
            (
                "http://[::1]:4318/otlp/v1/traces",
                "http://[::1]:4318/otlp/v1/traces",
            ),
        ] {
            assert_eq!(parse(text).map(|traces| traces.to_string()).as_deref(), Ok(whole));
        }
        for (text, why) in [
            ("127.0.0.1:4318", "is no URL"),
            ("grpc://a:4317", "is neither http nor https"),
            ("http://a", "has no port"),
            ("http://a:0", "has no port"),
            ("http://a:x", "has no port"),
            ("http://:4318", "has no host that can be dialled"),
            ("http://0x7f.1:4318", "has no host that can be dialled"),
            ("http://a:4318/x?y", "has a path of other"),
            ("http://user@a:4318", "names a user"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.starts_with(why), "{text}: {refused}");
        }
    }
}
