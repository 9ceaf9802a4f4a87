//! A small SendGrid to test against: the API keys of its v3 interface, stateful and strict, with faults on demand; and a service of one's own. `README.md`
//! says what it is like and what it is not.

#![forbid(unsafe_code)]

mod service;
mod wire;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

pub use service::Service;
pub use wire::{Listening, Reply, Request};

/// As many as SendGrid keeps.
const MOST_KEYS: usize = 100;
/// What there is to be allowed.
const SCOPES: [&str; 6] = [
    "alerts.read",
    "api_keys.create",
    "api_keys.delete",
    "api_keys.read",
    "mail.send",
    "stats.read",
];
/// Listed with every key, and given to none that asks.
const OF_THE_ACCOUNT: &str = "2fa_required";

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the fault is for a later one.
    None,
    /// This is answered, and nothing is done.
    Before(Reply),
    /// It is done, and this is answered.
    After(Reply),
    /// It is done, and the answer says what was asked, its `Authorization` included.
    Echo,
}

/// A key as the server has it.
#[derive(Clone, Debug)]
pub struct Key {
    /// In the clear: what the server shows of it.
    pub id: String,
    /// All of it.
    pub value: String,
    /// Not unique.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Of which subuser.
    pub subuser: Option<String>,
}

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    faults: VecDeque<(String, Fault)>,
    log: Vec<String>,
}

/// The server.
pub struct SendGrid {
    listening: Listening,
    state: Arc<Mutex<State>>,
}

impl SendGrid {
    /// Starts one with a certificate and its key in PEM.
    ///
    /// # Errors
    /// As [`Listening::start`].
    pub fn start(certificate: &str, key: &str) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let listening = Listening::start(certificate, key, move |request| held(&shared).answer(request))?;
        Ok(Self { listening, state })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// A key that a person makes in the console.
    pub fn make(&self, name: &str, scopes: &[&str]) -> Key {
        self.make_for(name, scopes, None)
    }

    /// The same for a subuser.
    pub fn make_for(&self, name: &str, scopes: &[&str], subuser: Option<&str>) -> Key {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        held(&self.state).make(name, scopes, subuser.map(str::to_owned))
    }

    /// A person deletes a key.
    pub fn delete(&self, id: &str) {
        held(&self.state).keys.retain(|key| key.id != id);
    }

    /// All keys that there are.
    pub fn keys(&self) -> Vec<Key> {
        held(&self.state).keys.clone()
    }

    /// Whether a key opens it.
    pub fn accepts(&self, value: &str) -> bool {
        held(&self.state).keys.iter().any(|key| key.value == value)
    }

    /// What becomes of the next request of this method and path (`POST /v3/api_keys`); faults of one request line up.
    pub fn fail(&self, request: &str, fault: Fault) {
        held(&self.state).faults.push_back((request.to_owned(), fault));
    }

    /// Method, path and status of each request; no secret is in it.
    pub fn log(&self) -> Vec<String> {
        held(&self.state).log.clone()
    }
}

fn held(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({ "errors": [{ "field": null, "message": message }] }),
    )
}

fn random(length: usize) -> String {
    use rand::distr::{Alphanumeric, SampleString as _};
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let what = format!("{} {}", request.method, request.path);
        let at = self.faults.iter().position(|(wanted, _)| *wanted == what);
        let fault = at.and_then(|at| self.faults.remove(at)).map(|(_, fault)| fault);
        let reply = match fault {
            Some(Fault::Before(reply)) => reply,
            Some(Fault::After(reply)) => {
                self.route(request);
                reply
            }
            Some(Fault::Echo) => match self.route(request) {
                Reply::Answer(status, headers, body) => {
                    let mut document: Value = serde_json::from_str(&body).unwrap_or_default();
                    document["name"] = json!(request.header("authorization"));
                    Reply::Answer(status, headers, document.to_string())
                }
                Reply::Nothing => Reply::Nothing,
            },
            None | Some(Fault::None) => self.route(request),
        };
        let status = match &reply {
            Reply::Answer(status, ..) => status.to_string(),
            Reply::Nothing => "nothing".to_owned(),
        };
        self.log.push(format!("{what} {status}"));
        reply
    }

    fn route(&mut self, request: &Request) -> Reply {
        let Some(asking) = request
            .bearer()
            .and_then(|value| self.keys.iter().find(|key| key.value == value))
            .cloned()
        else {
            return refused(401, "authorization required");
        };
        let subuser = request.header("on-behalf-of").map(str::to_owned);
        let may = |scope: &str| asking.scopes.contains(scope);
        let forbidden = || refused(403, "access forbidden");
        let id = request.path.strip_prefix("/v3/api_keys/");
        match (request.method.as_str(), request.path.as_str(), id) {
            ("GET", "/v3/scopes", _) => {
                let scopes: Vec<&str> = asking
                    .scopes
                    .iter()
                    .map(String::as_str)
                    .chain([OF_THE_ACCOUNT])
                    .collect();
                Reply::json(200, &json!({ "scopes": scopes }))
            }
            ("GET", "/v3/api_keys", _) if !may("api_keys.read") => forbidden(),
            ("GET", "/v3/api_keys", _) => {
                let of = self.keys.iter().filter(|key| key.subuser == subuser);
                let listed: Vec<Value> = of
                    .map(|key| json!({ "api_key_id": key.id, "name": key.name }))
                    .collect();
                Reply::json(200, &json!({ "result": listed }))
            }
            ("POST", "/v3/api_keys", _) if !may("api_keys.create") => forbidden(),
            ("POST", "/v3/api_keys", _) => self.create(request, &asking, subuser),
            ("GET", _, Some(_)) if !may("api_keys.read") => forbidden(),
            ("DELETE", _, Some(_)) if !may("api_keys.delete") => forbidden(),
            (method, _, Some(id)) => {
                let Some(at) = self
                    .keys
                    .iter()
                    .position(|key| key.id == id && key.subuser == subuser)
                else {
                    return refused(404, "unable to find API Key");
                };
                match method {
                    "GET" => {
                        let key = &self.keys[at];
                        let scopes: Vec<&str> = key
                            .scopes
                            .iter()
                            .map(String::as_str)
                            .chain([OF_THE_ACCOUNT])
                            .collect();
                        let shown = json!({ "api_key_id": key.id, "name": key.name, "scopes": scopes });
                        Reply::json(200, &json!({ "result": [shown] }))
                    }
                    "DELETE" => {
                        self.keys.remove(at);
                        Reply::status(204)
                    }
                    _ => refused(405, "method not allowed"),
                }
            }
            _ => refused(404, "not found"),
        }
    }

    fn create(&mut self, request: &Request, asking: &Key, subuser: Option<String>) -> Reply {
        let Some(document) = request.json() else {
            return refused(400, "not JSON");
        };
        let known = ["name", "scopes"];
        let is_clean = document
            .as_object()
            .is_some_and(|fields| fields.keys().all(|key| known.contains(&key.as_str())));
        let name = document["name"]
            .as_str()
            .filter(|name| (1..=100).contains(&name.len()));
        let (true, Some(name)) = (is_clean, name) else {
            return refused(400, "missing required argument");
        };
        let scopes: Option<BTreeSet<String>> = match document.get("scopes") {
            None => Some(SCOPES.map(str::to_owned).into()),
            Some(scopes) => scopes.as_array().and_then(|scopes| {
                scopes
                    .iter()
                    .map(|scope| scope.as_str().map(str::to_owned))
                    .collect()
            }),
        };
        let Some(scopes) =
            scopes.filter(|scopes| scopes.iter().all(|scope| SCOPES.contains(&scope.as_str())))
        else {
            return refused(400, "invalid scope");
        };
        if !scopes.is_subset(&asking.scopes) || self.keys.len() >= MOST_KEYS {
            return refused(403, "access forbidden");
        }
        let key = self.make(name, scopes, subuser);
        Reply::json(
            201,
            &json!({ "api_key": key.value, "api_key_id": key.id, "name": key.name, "scopes": key.scopes }),
        )
    }

    fn make(&mut self, name: &str, scopes: BTreeSet<String>, subuser: Option<String>) -> Key {
        let id = random(22);
        let key = Key {
            value: format!("SG.{id}.{}", random(43)),
            id,
            name: name.to_owned(),
            scopes,
            subuser,
        };
        self.keys.push(key.clone());
        key
    }
}
