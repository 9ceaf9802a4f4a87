//! Requests to one service, and its answers.

use serde_json::Value;

use crate::bindings::keywheel::http::client::{Request, Response, recall};
use crate::error::{admin_refused, error};
use crate::{Error, ErrorKind, Secret};

/// The longest pause that a service may ask for: whoever asks for more is asked again after it.
const LONGEST_PAUSE_MS: u64 = 60 * 60 * 1000;
const FORBIDDEN: u16 = 403;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A service: where it is, and what every request to it has.
#[derive(Clone, Debug)]
pub struct Api<'a> {
    /// Its name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// A trust set of the host's configuration; none: the operating system's authorities.
    pub trust: Option<&'a str>,
    /// Longest wait for one answer.
    pub timeout_ms: u32,
    /// Headers of every request, none of them a secret.
    pub headers: Vec<(&'a str, &'a str)>,
}

impl Api<'_> {
    /// A request: method and path (encoded, with its first slash), by TLS. `Err` where a header of all cannot be sent.
    ///
    /// # Errors
    /// A header that breaks.
    pub fn request(&self, method: &str, path: &str) -> Result<Call, Error> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_owned() };
        let request = Request::new(method, &format!("https://{host}:{}{path}", self.port));
        request.timeout(self.timeout_ms);
        if let Some(trust) = self.trust {
            request.trust(trust);
        }
        for (name, value) in &self.headers {
            request.header(name, value)?;
        }
        Ok(Call(request))
    }
}

/// A request under construction.
#[derive(Debug)]
pub struct Call(Request);

impl Call {
    /// With `Authorization: Bearer`.
    ///
    /// # Errors
    /// Of the host.
    pub fn bearer(self, token: &Secret) -> Result<Self, Error> {
        self.0.bearer(token)?;
        Ok(self)
    }

    /// With `Authorization: Basic`.
    ///
    /// # Errors
    /// Of the host.
    pub fn basic(self, user: &str, password: &Secret) -> Result<Self, Error> {
        self.0.basic(user, password)?;
        Ok(self)
    }

    /// With a parameter of the query.
    ///
    /// # Errors
    /// Of the host.
    pub fn query(self, name: &str, value: &str) -> Result<Self, Error> {
        self.0.query(name, value)?;
        Ok(self)
    }

    /// With a document as the body.
    ///
    /// # Errors
    /// Of the host.
    pub fn json(self, document: &Value) -> Result<Self, Error> {
        self.0.body(document.to_string().as_bytes(), JSON)?;
        Ok(self)
    }

    /// With a form as the body.
    ///
    /// # Errors
    /// Of the host.
    pub fn form(self, fields: &[(&str, &str)]) -> Result<Self, Error> {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", segment(name), segment(value))).collect();
        self.0.body(pairs.join("&").as_bytes(), FORM)?;
        Ok(self)
    }

    /// With a document as the body that was composed with secrets in it.
    ///
    /// # Errors
    /// Of the host.
    pub fn secret_json(self, document: &Secret) -> Result<Self, Error> {
        self.0.secret_body(document)?;
        Ok(self)
    }

    /// With a header that is the secret and nothing else.
    ///
    /// # Errors
    /// Of the host.
    pub fn secret_header(self, name: &str, value: &Secret) -> Result<Self, Error> {
        self.0.secret_header(name, "", value)?;
        Ok(self)
    }

    /// Signed: see `sign` of the contract.
    ///
    /// # Errors
    /// Of the host.
    pub fn signed(self, scheme: &str, parameters: &Value, key: &Secret) -> Result<Self, Error> {
        self.0.sign(scheme, &parameters.to_string(), key)?;
        Ok(self)
    }

    /// With an `Idempotency-Key`.
    #[must_use]
    pub fn idempotent(self, key: &str) -> Self {
        self.0.idempotency_key(key);
        self
    }

    /// Takes a text out of the answer before anybody sees it, and keeps the answer for [`recalled`] under the same name.
    ///
    /// # Errors
    /// Of the host.
    pub fn captures(self, name: &str, selector: &str) -> Result<Self, Error> {
        self.0.capture(name, selector, "text/plain")?;
        self.0.record_as(name);
        Ok(self)
    }

    /// Takes a text out of the answer that is of use for this call alone, or is not to be seen: it is not kept.
    ///
    /// # Errors
    /// Of the host.
    pub fn hides(self, name: &str, selector: &str) -> Result<Self, Error> {
        self.0.capture_session(name, selector)?;
        Ok(self)
    }

    /// Sends it.
    ///
    /// # Errors
    /// Of the host, or there was no answer. A status is none.
    pub fn send(self) -> Result<Reply, Error> {
        Ok(Reply(Request::send(self.0)?))
    }
}

/// What an earlier try of this run has captured under a name, with the answer that it was in.
///
/// # Errors
/// The journal or the vault cannot be read.
pub fn recalled(name: &str) -> Result<Option<Reply>, Error> {
    Ok(recall(name)?.map(Reply))
}

/// An answer, as far as the manifest shows it.
#[derive(Debug)]
pub struct Reply(Response);

impl Reply {
    /// The status.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Whether it is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// The body as a document; `null` where it is none.
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.0.body()).unwrap_or_default()
    }

    /// A text of the body, by its pointer.
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.document().pointer(pointer)?.as_str().map(str::to_owned)
    }

    /// What was captured under a name.
    ///
    /// # Errors
    /// Nothing was.
    pub fn captured(&self, name: &str) -> Result<Secret, Error> {
        let missing = || error(ErrorKind::Other, "http.captured", format!("nothing was captured as {name}"));
        self.0.captured(name).ok_or_else(missing)
    }

    /// How long the service wants to be left alone, in milliseconds: `Retry-After` in seconds, an hour at the most.
    pub fn retry_after_ms(&self) -> Option<u32> {
        pause_ms(self.0.header("retry-after").first()?)
    }

    /// An answer to the administrator's request that is not what was asked for. `what` was asked (`listing the keys`).
    pub fn problem(&self, what: &str) -> Error {
        let status = self.status();
        let message = |words: &str| format!("{what}: the service answered {status}{words}");
        let failed = |kind: ErrorKind, words: &str| error(kind, &format!("http.{status}"), message(words));
        match status {
            401 => admin_refused(),
            FORBIDDEN => failed(ErrorKind::Denied, ", which it says to a key that it knows and that lacks a right"),
            404 | 410 => failed(ErrorKind::NotFound, ""),
            409 => failed(ErrorKind::Conflict, ""),
            408 | 425 | 429 | 500..=599 => {
                Error { retry_after: self.retry_after_ms(), ..failed(ErrorKind::Unavailable, "") }
            }
            300..=399 => failed(ErrorKind::Other, ": a redirect, which is not followed"),
            400..=499 => failed(ErrorKind::Invalid, ""),
            _ => failed(ErrorKind::Other, ""),
        }
    }

    /// The same reply if it is 2xx.
    ///
    /// # Errors
    /// [`Reply::problem`].
    pub fn accepted(self, what: &str) -> Result<Self, Error> {
        if self.is_success() { Ok(self) } else { Err(self.problem(what)) }
    }
}

/// Whether an error is a service's word that it knows who asks, who lacks a right ([`Reply::problem`]).
pub fn is_forbidden(problem: &Error) -> bool {
    problem.kind == ErrorKind::Denied && problem.code == format!("http.{FORBIDDEN}")
}

fn pause_ms(text: &str) -> Option<u32> {
    let seconds: u64 = text.trim().parse().ok()?;
    u32::try_from(seconds.saturating_mul(1000).min(LONGEST_PAUSE_MS)).ok()
}

/// One segment of a path, encoded: nothing in it is a slash, a dot alone, or a parameter.
pub fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let coded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(coded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_seconds_and_has_an_end() {
        for (text, expected) in
            [("7", Some(7_000)), (" 0 ", Some(0)), ("99999999999", Some(3_600_000)), ("-1", None), ("soon", None)]
        {
            assert_eq!(pause_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn a_segment_cannot_become_another_path() {
        assert_eq!(segment("aZ9_-~"), "aZ9_-~");
        assert_eq!(segment("../x?y"), "%2E%2E%2Fx%3Fy");
    }
}
