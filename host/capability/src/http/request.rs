use std::time::Duration;

use wasmtime::component::Resource;

use super::places::{check_header, check_name_of_header, check_selector};
use crate::bindings::keywheel::http::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::http::Response;
use crate::identities::Identity;
use crate::secrets::check_media_type;
use crate::state::HostState;

/// Most headers, parameters and captured values of one request, each.
const MOST: usize = 64;
const MAX_TEXT_BYTES: usize = 4096;
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_KEY_BYTES: usize = 255;

/// A request that is being described. Functions of the contract that cannot fail keep the first error for `send`.
#[derive(Default)]
pub struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<Body>,
    pub(super) secrets: Vec<Placed>,
    pub(super) captures: Vec<Capture>,
    pub(super) idempotency_key: Option<String>,
    pub(super) record: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) reads: bool,
    pub(super) trust: Option<String>,
    pub(super) wrong: Option<Error>,
}

/// What is sent as the body.
pub(super) enum Body {
    Plain(Vec<u8>, String),
    /// A document that was composed of text and secrets.
    Secret(Handle),
}

/// A secret in its place.
pub(super) enum Placed {
    Bearer(Handle),
    Basic(String, Handle),
    /// Name in small letters, what stands before the secret.
    Header(String, String, Handle),
    Query(String, Handle),
    /// Scheme, parameters.
    Signed(String, String, Handle),
}

/// A value that is taken out of the answer.
pub(super) struct Capture {
    pub(super) name: String,
    pub(super) selector: String,
    pub(super) media_type: String,
    /// For this call alone: not kept.
    pub(super) session: bool,
}

impl HostState {
    fn request_mut(&mut self, request: &Resource<Request>) -> Result<&mut Request, Error> {
        Ok(self.table.get_mut(request)?)
    }

    /// What is wrong with a request whose function cannot say so.
    fn later(&mut self, request: &Resource<Request>, error: Error) -> wasmtime::Result<()> {
        match error {
            error @ Error::Answer(_) => {
                self.table.get_mut(request)?.wrong.get_or_insert(error);
                Ok(())
            }
            other => Err(other.into_trap()),
        }
    }

    /// A name and a value by the guest: a target may log them, so they say no secret.
    fn clear_pair(&mut self, name: &str, value: &str) -> Result<(), Error> {
        if name.len() > MAX_TEXT_BYTES || value.len() > MAX_TEXT_BYTES {
            let message = format!("a name or value in a request has at most {MAX_TEXT_BYTES} bytes");
            return Err(Error::limit("http.size", message));
        }
        self.clear_cells([name.as_bytes(), value.as_bytes()], "a piece of a request")
    }

    fn place_secret(&mut self, request: &Resource<Request>, placed: Placed) -> Result<(), Error> {
        let request = self.request_mut(request)?;
        room(request.secrets.len())?;
        request.secrets.push(placed);
        Ok(())
    }

    fn add_capture(&mut self, request: &Resource<Request>, capture: Capture) -> Result<(), Error> {
        self.check_name(&capture.name, "the name of a captured value")?;
        check_media_type(&capture.media_type)?;
        check_selector(&capture.selector)?;
        self.clear_text(&capture.selector, "a selector")?;
        let request = self.request_mut(request)?;
        room(request.captures.len())?;
        if request.captures.iter().any(|other| other.name == capture.name) {
            return Err(Error::invalid(
                "http.capture",
                "two captured values have one name",
            ));
        }
        request.captures.push(capture);
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), Error> {
        check_header("idempotency-key", key)?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let message = format!("an idempotency key has 1 to {MAX_KEY_BYTES} bytes");
            return Err(Error::invalid("http.idempotency-key", message));
        }
        self.clear_text(key, "an idempotency key")
    }
}

fn room(held: usize) -> Result<(), Error> {
    if held < MOST {
        return Ok(());
    }
    let message =
        format!("a request has at most {MOST} headers, parameters, secrets and captured values, each");
    Err(Error::limit("http.size", message))
}

impl client::HostRequest for HostState {
    async fn new(&mut self, method: String, url: String) -> wasmtime::Result<Resource<Request>> {
        Ok(self.table.push(Request {
            method,
            url,
            ..Request::default()
        })?)
    }

    async fn header(&mut self, request: Resource<Request>, name: String, value: String) -> Result<(), Error> {
        check_name_of_header(&name)?;
        check_header(&name, &value)?;
        self.clear_pair(&name, &value)?;
        let request = self.request_mut(&request)?;
        room(request.headers.len())?;
        request.headers.push((name.to_ascii_lowercase(), value));
        Ok(())
    }

    async fn query(&mut self, request: Resource<Request>, name: String, value: String) -> Result<(), Error> {
        self.clear_pair(&name, &value)?;
        let request = self.request_mut(&request)?;
        room(request.query.len())?;
        request.query.push((name, value));
        Ok(())
    }

    async fn body(
        &mut self,
        request: Resource<Request>,
        content: Vec<u8>,
        media_type: String,
    ) -> Result<(), Error> {
        check_media_type(&media_type)?;
        if content.len() > MAX_BODY_BYTES {
            let message = format!("the body of a request has at most {MAX_BODY_BYTES} bytes");
            return Err(Error::limit("http.size", message));
        }
        self.clear_bytes(&content, "the body of a request")?;
        self.set_body(&request, Body::Plain(content, media_type))
    }

    async fn secret_header(
        &mut self,
        request: Resource<Request>,
        name: String,
        prefix: String,
        value: Resource<Handle>,
    ) -> Result<(), Error> {
        let name = name.to_ascii_lowercase();
        if name != "authorization" {
            check_name_of_header(&name)?;
        }
        check_header(&name, &prefix)?;
        self.clear_pair(&name, &prefix)?;
        let value = self.handle(&value)?;
        self.place_secret(&request, Placed::Header(name, prefix, value))
    }

    async fn secret_query(
        &mut self,
        request: Resource<Request>,
        name: String,
        value: Resource<Handle>,
    ) -> Result<(), Error> {
        self.clear_pair(&name, "")?;
        let value = self.handle(&value)?;
        self.place_secret(&request, Placed::Query(name, value))
    }

    async fn secret_body(
        &mut self,
        request: Resource<Request>,
        content: Resource<Handle>,
    ) -> Result<(), Error> {
        let content = self.handle(&content)?;
        self.hold(content.value().expose().len())?;
        self.set_body(&request, Body::Secret(content))
    }

    async fn bearer(&mut self, request: Resource<Request>, token: Resource<Handle>) -> Result<(), Error> {
        let token = self.handle(&token)?;
        self.place_secret(&request, Placed::Bearer(token))
    }

    async fn basic(
        &mut self,
        request: Resource<Request>,
        user: String,
        password: Resource<Handle>,
    ) -> Result<(), Error> {
        if user.contains(':') || user.contains(char::is_control) {
            let message = "a user name has no `:` and no control characters (RFC 7617)";
            return Err(Error::invalid("http.user", message));
        }
        self.clear_pair(&user, "")?;
        let password = self.handle(&password)?;
        self.place_secret(&request, Placed::Basic(user, password))
    }

    async fn sign(
        &mut self,
        request: Resource<Request>,
        scheme: String,
        parameters: String,
        key: Resource<Handle>,
    ) -> Result<(), Error> {
        self.clear_pair(&scheme, &parameters)?;
        let key = self.handle(&key)?;
        self.place_secret(&request, Placed::Signed(scheme, parameters, key))
    }

    async fn client_identity(
        &mut self,
        request: Resource<Request>,
        _identity: Resource<Identity>,
    ) -> wasmtime::Result<()> {
        self.later(&request, Error::not_offered("`client-identity`"))
    }

    async fn trust(&mut self, request: Resource<Request>, set: String) -> wasmtime::Result<()> {
        match self.clear_pair(&set, "") {
            Ok(()) => self.table.get_mut(&request)?.trust = Some(set),
            Err(error) => self.later(&request, error)?,
        }
        Ok(())
    }

    async fn read_only(&mut self, request: Resource<Request>) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.reads = true;
        Ok(())
    }

    async fn record_as(&mut self, request: Resource<Request>, label: String) -> wasmtime::Result<()> {
        match self.check_name(&label, "a label") {
            Ok(()) => self.table.get_mut(&request)?.record = Some(label),
            Err(error) => self.later(&request, error)?,
        }
        Ok(())
    }

    async fn capture_session(
        &mut self,
        request: Resource<Request>,
        name: String,
        selector: String,
    ) -> Result<(), Error> {
        let capture = Capture {
            name,
            selector,
            media_type: "text/plain".to_owned(),
            session: true,
        };
        self.add_capture(&request, capture)
    }

    async fn capture(
        &mut self,
        request: Resource<Request>,
        name: String,
        selector: String,
        media_type: String,
    ) -> Result<(), Error> {
        let capture = Capture {
            name,
            selector,
            media_type,
            session: false,
        };
        self.add_capture(&request, capture)
    }

    async fn idempotency_key(&mut self, request: Resource<Request>, key: String) -> wasmtime::Result<()> {
        match self.key(&key) {
            Ok(()) => self.table.get_mut(&request)?.idempotency_key = Some(key),
            Err(error) => self.later(&request, error)?,
        }
        Ok(())
    }

    async fn timeout(&mut self, request: Resource<Request>, timeout: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.timeout = Some(Duration::from_millis(timeout.into()));
        Ok(())
    }

    async fn follow_redirects(&mut self, request: Resource<Request>, limit: u8) -> wasmtime::Result<()> {
        if limit == 0 {
            return Ok(());
        }
        self.later(&request, Error::not_offered("`follow-redirects`"))
    }

    async fn send(&mut self, request: Resource<Request>) -> Result<Resource<Response>, Error> {
        let request = self.table.delete(request)?;
        let response = self.send_request(request).await?;
        Ok(self.table.push(response)?)
    }

    async fn drop(&mut self, request: Resource<Request>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl HostState {
    fn set_body(&mut self, request: &Resource<Request>, body: Body) -> Result<(), Error> {
        let request = self.request_mut(request)?;
        if request.body.is_some() {
            return Err(Error::invalid("http.body", "the request has a body already"));
        }
        request.body = Some(body);
        Ok(())
    }
}
