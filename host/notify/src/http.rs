//! One request to a checked address, by TLS, within a deadline; what comes back is bounded, and nothing is followed.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, header};
use hyper_util::rt::TokioIo;
use keywheel_model::address::Host;
use keywheel_model::{SecretBytes, Timestamp};
use keywheel_target::Deadline;
use keywheel_target::dial::{Allow, Dialer, Transport};
use keywheel_target::tls::{TlsOptions, TrustStore, handshake};
use tokio::task::JoinSet;

use crate::Error;

/// Longer ones are no URLs of anybody's.
const URL_BYTES: usize = 4096;

/// More of an answer is not read.
const ANSWER_BYTES: usize = 16 * 1024;

const HTTPS: u16 = 443;

/// Where a message is posted to. Whoever knows it may post there: nothing shows it.
pub struct Url {
    host: Host,
    port: u16,
    /// The path, with the query.
    path: SecretBytes,
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(***)")
    }
}

impl Url {
    /// Of a value of the vault.
    ///
    /// # Errors
    /// What is wrong with it, in words that go on from the secret's name.
    pub fn parse(value: &SecretBytes) -> Result<Self, &'static str> {
        const NONE: &str = "is no URL that begins with https://";
        let text = std::str::from_utf8(value.expose()).map_err(|_| NONE)?.trim();
        let rest = text.strip_prefix("https://").ok_or(NONE)?;
        if text.len() > URL_BYTES || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("is a URL with characters that do not belong there");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') || path.contains('#') {
            return Err("is a URL with a user, or with a fragment");
        }
        // An address of IPv6 has colons of its own.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)),
            _ => (authority, Some(HTTPS)),
        };
        let host = host
            .parse()
            .map_err(|_| "is a URL whose host cannot be dialled")?;
        let port = port.ok_or("is a URL whose port is none")?;
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            host,
            port,
            path: SecretBytes::new(path.into_bytes()),
        })
    }

    /// The same place with another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self {
            host: self.host.clone(),
            port: self.port,
            path: SecretBytes::copy_of(path.as_bytes()),
        }
    }

    fn name(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    fn authority(&self) -> String {
        match &self.host {
            Host::Address(address) => std::net::SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) if self.port == HTTPS => name.clone(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

/// What is posted.
pub(crate) struct Post<'p> {
    pub(crate) url: &'p Url,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// When.
    pub(crate) now: Timestamp,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// Nothing where it was too long. Nobody has looked through it.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What its status says: all of 2xx is well, for flows answer one or the other.
    pub(crate) fn judged(&self) -> Result<(), Error> {
        let status = self.status;
        match status {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => Err(Error::Busy {
                status,
                retry_after: self.retry_after,
            }),
            // Whoever has moved is not followed: it is another place than the one that was named.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Err(Error::Gone { status, word: None }),
            _ => Err(Error::Refused { status, word: None }),
        }
    }
}

impl Post<'_> {
    /// Posts it.
    pub(crate) async fn send(
        self,
        trust: &TrustStore,
        trusted: Option<&str>,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        let deadline = Deadline::after(timeout);
        let exchange = tokio::time::timeout(timeout, self.exchange(trust, trusted, deadline));
        exchange.await.unwrap_or(Err(Error::Silent { timeout }))
    }

    async fn exchange(
        self,
        trust: &TrustStore,
        trusted: Option<&str>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let reach = |error| Error::Reach(Box::new(error));
        let (name, url) = (self.url.name(), self.url);
        let rules = [Allow::host(&url.host, url.port, Transport::Tls)];
        let dialler = Dialer::system();
        let dialled = dialler
            .dial(&rules, &name, url.port, deadline)
            .await
            .map_err(reach)?;
        let options = TlsOptions {
            trust: trusted.map(str::to_owned),
            ..TlsOptions::for_name(&name)
        };
        let stream = handshake(dialled.stream, &options, trust, deadline)
            .await
            .map_err(reach)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Http)?;
        // Whatever ends this ends the connection.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        let now = self.now;
        let answer = sender.send_request(self.written()).await.map_err(Error::Http)?;
        let status = answer.status().as_u16();
        let retry_after = retry_after(answer.headers(), now);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
        // What it says about it is of use, and no more: the status is the answer.
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok(Answer {
            status,
            retry_after,
            body,
        })
    }

    fn written(self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = hyper::Method::POST;
        // Graphic ASCII that begins with a slash is one.
        *request.uri_mut() = hyper::Uri::try_from(self.url.path.expose()).unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(authority) = self.url.authority().parse() {
            headers.insert(header::HOST, authority);
        }
        let agent = concat!("keywheel/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static(agent));
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(self.content_type),
        );
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        request
    }
}

/// In seconds, or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let at = u64::try_from(at.as_millisecond()).ok()?;
    at.checked_sub(now.as_unix_ms()).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, u16, String), &'static str> {
        let url = Url::parse(&SecretBytes::copy_of(text.as_bytes()))?;
        let path = String::from_utf8_lossy(url.path.expose()).into_owned();
        assert_eq!(format!("{url:?}"), "Url(***)");
        Ok((url.authority(), url.port, path))
    }

    #[test]
    fn a_place_to_post_to_is_an_https_url_and_no_other() {
        for (text, authority, port, path) in [
            ("https://hooks.example/T0/B0\n", "hooks.example", 443, "/T0/B0"),
            ("https://a.example?sig=x%2F", "a.example", 443, "/?sig=x%2F"),
            ("https://a.example:8443/x?y#", "", 0, ""),
            ("https://127.0.0.1:8443/x", "127.0.0.1:8443", 8443, "/x"),
            ("https://[::1]/x", "[::1]:443", 443, "/x"),
            ("https://a.example", "a.example", 443, "/"),
        ] {
            match parsed(text) {
                Ok(found) => assert_eq!(found, (authority.to_owned(), port, path.to_owned())),
                Err(why) => assert!(port == 0, "{text}: {why}"),
            }
        }
        for text in [
            "",
            "http://a.example/x",
            "https://",
            "https://user:word@a.example/",
            "https://a.example:0/",
            "https://a.example:x/",
            "https://a.example/ x",
            "https://a.example/\u{e4}",
            "https://0x7f.1/",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed(&format!("https://a.example/{}", "x".repeat(5000))).is_err());
    }

    #[test]
    fn when_to_come_again_is_in_seconds_or_a_date() {
        // 9 September 2001.
        let now = Timestamp::from_unix_ms(1_000_000_000_000);
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        let minute = after("Sun, 09 Sep 2001 01:47:40 GMT");
        assert_eq!(minute, Some(Duration::from_mins(1)));
        assert_eq!(after("Sun, 09 Sep 2001 01:46:39 GMT"), None);
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_status_says_what_becomes_of_the_notice() {
        use crate::Remedy;
        let remedy = |status, retry_after| {
            let answer = Answer {
                status,
                retry_after,
                body: Vec::new(),
            };
            answer.judged().map_err(|error| (error.code(), error.remedy()))
        };
        for status in [200, 202, 204] {
            assert_eq!(remedy(status, None), Ok(()));
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(remedy(status, None), Err(("notify.busy", Remedy::Later(None))));
        }
        for status in [301, 302, 307, 308, 401, 403, 404, 410] {
            assert_eq!(remedy(status, None), Err(("notify.gone", Remedy::Halt)));
        }
        for status in [400, 413, 415, 422] {
            assert_eq!(remedy(status, None), Err(("notify.refused", Remedy::Drop)));
        }
        let hour = Duration::from_hours(1);
        assert_eq!(
            remedy(429, Some(hour * 48)),
            Err(("notify.busy", Remedy::Later(Some(hour))))
        );
    }
}
