use keywheel_manifest::{Capability, HttpShape, Meaning, Shape, ShapeBody, ShapeEffect};
use keywheel_model::{Effect, ErrorKind, SecretBytes, StepError};
use keywheel_target::http::{self, Answer};

use super::answer::{Parts, texts};
use super::described::Described;
use super::places::check_selector;
use super::request::{Capture, Request};
use super::response::Response;
use crate::error::Error;
use crate::guard::{Begun, Ended, Permitted};
use crate::handle::{Alphabet, Handle, Labels};
use crate::net::Destined;
use crate::report::LoginResult;
use crate::state::HostState;

/// Most bytes of a body that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

impl HostState {
    /// Checks, sends, and takes apart what comes back.
    pub(super) async fn send_request(&mut self, request: Request) -> Result<Response, Error> {
        self.permit_package(Capability::Http).await?;
        let mut request = request;
        if let Some(wrong) = request.wrong.take() {
            return Err(wrong);
        }
        self.clear_cells(
            [request.method.as_bytes(), request.url.as_bytes()],
            "the address of a request",
        )?;
        let described = Described::of(&request, self)?;
        let peer = described.url.peer.clone();
        let mut permitted = self.permit_request(&request, &described).await?;
        permitted.idempotency.clone_from(&request.idempotency_key);
        let destination = self.permit_destination(&peer).await?;
        let destined = Destined::new(&peer, destination, &self.http.outbound)?;
        let wire = described.wire(&request, self.step.clock.now().as_unix_ms() / 1000)?;
        if let Some(label) = &request.record {
            self.forget(label).await?;
        }
        let deadline = request
            .timeout
            .map_or(self.deadline(), |timeout| self.deadline().within(timeout));
        let begun = self.begin(permitted, &peer).await?;
        let sent = http::send(
            &destined.outbound,
            &destined.rules,
            wire,
            MAX_ANSWER_BYTES,
            deadline,
        )
        .await;
        match sent {
            Ok(answer) => self.taken_apart(begun, &request, &answer).await,
            Err(error) => {
                let before = error.is_before_login();
                let login = if before {
                    LoginResult::Unsent
                } else {
                    LoginResult::Unknown
                };
                let ended = Ended {
                    effect: error.effect(),
                    login: Some(login),
                    code: Some(error.code().into_owned()),
                };
                let changes = begun.call().effect >= ShapeEffect::Create;
                self.conclude(begun, ended).await?;
                Err(match self.cannot_open(&peer, error).await {
                    // What only looks leaves nothing in doubt.
                    Error::Answer(error) if !changes => Error::Answer(error.with_effect(Effect::None)),
                    failed => failed,
                })
            }
        }
    }

    /// Lets a request through. One without a secret that no shape declares only reads if its method does.
    async fn permit_request(&mut self, request: &Request, described: &Described) -> Result<Permitted, Error> {
        let (call, peer) = (&described.call, &described.url.peer);
        let undeclared = described.handles.is_empty()
            && matches!(self.step.manifest.find_shape(call, &self.step.config), Ok(None));
        let permitted = if undeclared && matches!(request.method.as_str(), "GET" | "HEAD") {
            self.permit_read_only("http", peer).await?
        } else {
            self.permit(call, &described.handles, peer, false).await?
        };
        if request.reads && permitted.effect > ShapeEffect::Login {
            let message =
                "`read-only` was said of a request that its shape, or the lack of one, lets change something";
            return Err(Error::invalid("http.read-only", message));
        }
        Ok(permitted)
    }

    /// What was issued is kept, then how the call ended, then what the guest may see is scanned.
    async fn taken_apart(
        &mut self,
        begun: Begun,
        request: &Request,
        answer: &Answer,
    ) -> Result<Response, Error> {
        let mut parts = Parts::of(answer);
        let shape = self.http_shape(&begun);
        let ended = Ended {
            effect: answer.effect(),
            login: Some(login_result(answer.status, &parts, shape.as_ref())),
            code: (answer.status >= 300).then(|| format!("http.{}", answer.status)),
        };
        let taken = self.take(request, answer, &mut parts).await;
        // A service that has another word than 401 for a credential that it does not know.
        let rejects = self
            .http_shape(&begun)
            .is_some_and(|shape| shape.rejects().contains(&answer.status));
        let ended = Ended {
            login: rejects.then_some(LoginResult::Rejected).or(ended.login),
            ..ended
        };
        let (response, kept) = match taken {
            Ok(taken) => taken.into_response(self, &begun, answer, &parts),
            Err(error) => {
                let code = match &error {
                    Error::Answer(error) => Some(error.code.clone()),
                    _ => ended.code.clone(),
                };
                self.conclude(begun, Ended { code, ..ended }).await?;
                return Err(error);
            }
        };
        let cleared = self.clear_answer(&response);
        let recorded = match &request.record {
            Some(label) if is_success(answer.status) && cleared.is_ok() => {
                self.keep_record(label, &response, &kept).await
            }
            _ => Ok(()),
        };
        self.conclude(begun, ended).await?;
        cleared.and(recorded.map_err(|error| in_effect(error, answer)))?;
        Ok(response)
    }

    /// Takes out of a 2xx answer what was asked for; each value is in the escrow when this returns.
    async fn take(
        &mut self,
        request: &Request,
        answer: &Answer,
        parts: &mut Parts<'_>,
    ) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        if !is_success(answer.status) {
            return Ok(taken);
        }
        // All are found before any is kept: which ones are there is looked at once.
        let mut found = Vec::new();
        for capture in &request.captures {
            match parts.take(&check_selector(&capture.selector)?) {
                Some(value) => found.push((capture, value)),
                None => return Err(self.nothing_captured(capture, answer).await?),
            }
        }
        for (capture, value) in found {
            let is_kept = !capture.session && self.mask.live(&value).is_none();
            let handle = self.keep_captured(capture, value).await;
            let handle = handle.map_err(|error| in_effect(error, answer))?;
            taken.kept.extend(is_kept.then(|| capture.name.clone()));
            taken.captured.push((capture.name.clone(), handle));
        }
        Ok(taken)
    }

    async fn keep_captured(&mut self, capture: &Capture, value: SecretBytes) -> Result<Handle, Error> {
        if !capture.session {
            return self.capture(&capture.name, value, &capture.media_type).await;
        }
        if let Some(known) = self.mask.live(&value) {
            return Ok(known);
        }
        let labels =
            Labels::captured(&capture.media_type, Alphabet::of_foreign(value.expose())).for_use_only();
        let handle = Handle::concealed(value, labels);
        let role = keywheel_manifest::SecretRole::Session(capture.name.clone());
        self.place(&handle, handle.id().to_owned(), [role], None);
        self.watch(&handle);
        Ok(handle)
    }

    /// The target has issued something, and not where it was looked for: the whole body is kept (rule P5).
    async fn nothing_captured(&mut self, capture: &Capture, answer: &Answer) -> Result<Error, Error> {
        let mut message = format!(
            "the answer ({}) has no `{}`, or has it twice, or is not of the kind that it is looked for in",
            answer.status, capture.selector
        );
        if !capture.session && !answer.body.expose().is_empty() {
            let labels = Labels::captured("application/octet-stream", Alphabet::Bytes).for_use_only();
            self.step.port.escrow("http:body", &answer.body, &labels).await?;
            message.push_str("; its body is in the run's escrow");
        }
        let error = StepError::new(ErrorKind::Other, "http.capture", message);
        Ok(Error::Answer(error.with_effect(answer.effect())))
    }

    fn clear_answer(&mut self, response: &Response) -> Result<(), Error> {
        let texts = texts(&response.body);
        let headers = response.headers.iter().map(|(_, value)| value.as_bytes());
        let texts = texts.iter().map(String::as_bytes);
        self.clear_bytes(&response.body, "an answer of HTTP")?;
        self.clear_cells(headers.chain(texts), "an answer of HTTP")
    }

    fn http_shape(&self, begun: &Begun) -> Option<HttpShape> {
        let shape = begun
            .call()
            .shape
            .as_deref()
            .and_then(|id| self.step.manifest.shape(id));
        match shape.map(Shape::body) {
            Some(ShapeBody::Http(shape)) => Some((**shape).clone()),
            _ => None,
        }
    }
}

/// What was taken out of an answer.
#[derive(Default)]
struct Taken {
    captured: Vec<(String, Handle)>,
    /// The names of those that the escrow has.
    kept: Vec<String>,
}

impl Taken {
    /// With what the guest may see: of an endpoint that took a secret the declared fields, of any other all.
    fn into_response(
        self,
        state: &HostState,
        begun: &Begun,
        answer: &Answer,
        parts: &Parts<'_>,
    ) -> (Response, Vec<String>) {
        let shape = state.http_shape(begun).filter(|_| begun.call().carries_secret());
        let (headers, body) = match &shape {
            Some(shape) => (parts.headers(Some(shape.headers())), parts.shown(shape.show())),
            None if begun.call().carries_secret() => (Vec::new(), Vec::new()),
            None => (parts.headers(None), parts.whole()),
        };
        let response = Response {
            status: answer.status,
            headers,
            body,
            captured: self.captured.into_iter().collect(),
        };
        (response, self.kept)
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// What went wrong after the target had answered.
fn in_effect(error: Error, answer: &Answer) -> Error {
    match error {
        Error::Answer(error) => Error::Answer(error.with_effect(answer.effect())),
        other => other,
    }
}

/// What an answer says of the credential in the request: what its shape declares of its words, or else its status alone. 403 is an answer to one that is
/// known (RFC 9110 15.5.4), 401 is none.
fn login_result(status: u16, parts: &Parts<'_>, shape: Option<&HttpShape>) -> LoginResult {
    let mut told = shape.map_or(&[][..], HttpShape::told).iter();
    if let Some(told) = told.find(|told| told.status == status && parts.says(&told.at, &told.is)) {
        return match told.means {
            Meaning::Accepted => LoginResult::Accepted,
            Meaning::Rejected => LoginResult::Rejected,
            Meaning::Limited => LoginResult::Limited,
            Meaning::Account => LoginResult::Account,
        };
    }
    match status {
        200..=299 => LoginResult::Accepted,
        401 => LoginResult::Rejected,
        403 => LoginResult::Limited,
        _ => LoginResult::Unknown,
    }
}
