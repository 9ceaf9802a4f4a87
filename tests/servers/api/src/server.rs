use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use crate::wire::{Listening, Reply, Request};

/// What becomes of one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the fault is for a later one.
    None,
    /// This is answered, and nothing is done.
    Before(Reply),
    /// It is done, and this is answered.
    After(Reply),
    /// It is done, and the answer says what was asked, its credentials included, in the text at this pointer.
    Echo(&'static str),
    /// It is done, and the answer comes slowly.
    Slow,
    /// It is done twice, as by a proxy that tries again; the second answer comes back.
    Twice,
}

/// A key as a vendor has it.
#[derive(Clone, Debug)]
pub struct Key {
    /// In the clear: what the vendor shows of it.
    pub id: String,
    /// All that is secret of it.
    pub value: String,
    /// As a rule not unique.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Of which user of the vendor's account.
    pub of: Option<String>,
    /// What else the vendor keeps with it.
    pub more: Value,
}

/// The rules of a vendor. Its keys are all that changes.
pub trait Vendor: Send + Sync + 'static {
    /// A new key, as the vendor makes its ids and values.
    fn mint(&self, name: &str, scopes: BTreeSet<String>, of: Option<String>) -> Key;

    /// Does what is asked, and answers.
    fn answer(&self, keys: &mut Vec<Key>, request: &Request) -> Reply;
}

struct State {
    vendor: Box<dyn Vendor>,
    keys: Vec<Key>,
    faults: VecDeque<(String, Fault)>,
    log: Vec<String>,
}

/// A vendor that listens.
pub struct Server {
    listening: Listening,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts one with a certificate and its key in PEM.
    ///
    /// # Errors
    /// As [`Listening::start`].
    pub fn start(certificate: &str, key: &str, vendor: impl Vendor) -> Result<Self> {
        let state = Arc::new(Mutex::new(State {
            vendor: Box::new(vendor),
            keys: Vec::new(),
            faults: VecDeque::new(),
            log: Vec::new(),
        }));
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

    /// The same for a user of the account.
    pub fn make_for(&self, name: &str, scopes: &[&str], of: Option<&str>) -> Key {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut state = held(&self.state);
        let key = state.vendor.mint(name, scopes, of.map(str::to_owned));
        state.keys.push(key.clone());
        key
    }

    /// A person deletes a key.
    pub fn delete(&self, id: &str) {
        held(&self.state).keys.retain(|key| key.id != id);
    }

    /// A person changes what a key may do.
    pub fn allow(&self, id: &str, scopes: &[&str]) {
        let mut state = held(&self.state);
        for key in state.keys.iter_mut().filter(|key| key.id == id) {
            key.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        }
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

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let what = format!("{} {}", request.method, request.path);
        let at = self.faults.iter().position(|(wanted, _)| *wanted == what);
        let fault = at.and_then(|at| self.faults.remove(at)).map(|(_, fault)| fault);
        let mut done = || self.vendor.answer(&mut self.keys, request);
        let reply = match fault {
            Some(Fault::Before(reply)) => reply,
            Some(Fault::After(reply)) => {
                done();
                reply
            }
            Some(Fault::Echo(at)) => echoed(done(), at, request),
            Some(Fault::Slow) => match done() {
                Reply::Answer(status, _, body) => Reply::Slow(status, body),
                other => other,
            },
            Some(Fault::Twice) => {
                done();
                done()
            }
            None | Some(Fault::None) => done(),
        };
        let status = match &reply {
            Reply::Answer(status, ..) | Reply::Slow(status, _) => status.to_string(),
            Reply::Nothing => "nothing".to_owned(),
        };
        self.log.push(format!("{what} {status}"));
        reply
    }
}

fn echoed(reply: Reply, at: &str, request: &Request) -> Reply {
    let Reply::Answer(status, headers, body) = reply else {
        return reply;
    };
    let mut document: Value = serde_json::from_str(&body).unwrap_or_default();
    let asked: Vec<&str> = request.headers.iter().map(|(_, value)| value.as_str()).collect();
    if let Some(text) = document.pointer_mut(at) {
        *text = json!(asked.join(" "));
    }
    Reply::Answer(status, headers, document.to_string())
}

/// The one key of this value.
pub(crate) fn known<'k>(keys: &'k [Key], value: Option<&str>) -> Option<&'k Key> {
    keys.iter().find(|key| Some(key.value.as_str()) == value)
}

/// Whether a document has these fields and no others, all of them but the optional ones.
pub(crate) fn has_fields(document: &Value, needed: &[&str], optional: &[&str]) -> bool {
    document.as_object().is_some_and(|fields| {
        let known = |name: &String| needed.contains(&name.as_str()) || optional.contains(&name.as_str());
        fields.keys().all(known) && needed.iter().all(|name| fields.contains_key(*name))
    })
}

/// A part of a list: its keys, by number (from 1) and size of the page.
pub(crate) fn page<'k>(keys: &[&'k Key], number: usize, size: usize) -> Vec<&'k Key> {
    let from = number.saturating_sub(1).saturating_mul(size);
    keys.iter().skip(from).take(size).copied().collect()
}

pub(crate) fn random(length: usize) -> String {
    use rand::distr::{Alphanumeric, SampleString as _};
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

/// Random digits of base 16, in small letters.
pub(crate) fn random_hex(length: usize) -> String {
    let digit = || char::from_digit(rand::random_range(0..16), 16).unwrap_or('0');
    std::iter::repeat_with(digit).take(length).collect()
}
