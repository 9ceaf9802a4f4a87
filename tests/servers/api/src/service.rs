use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::json;

use crate::wire::{Listening, Reply, Request};

/// A service of one's own: it is told its keys on `/keys/new` and `/keys/old`, and lets them in on `/who`.
pub struct Service {
    listening: Listening,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Whom it takes such words from.
    admin: String,
    keys: Vec<String>,
    /// Whether a new key takes the place of all others.
    replaces: bool,
    old_valid_until: Option<u64>,
    told: Vec<Request>,
    /// What is answered to the next words, once they were followed (`true`) or without that.
    faults: VecDeque<(bool, Reply)>,
}

impl Service {
    /// Starts one with a certificate and its key in PEM.
    ///
    /// # Errors
    /// As [`Listening::start`].
    pub fn start(certificate: &str, key: &str, admin: &str, first: &str, replaces: bool) -> Result<Self> {
        let state = Arc::new(Mutex::new(State {
            admin: admin.to_owned(),
            keys: vec![first.to_owned()],
            replaces,
            old_valid_until: None,
            told: Vec::new(),
            faults: VecDeque::new(),
        }));
        let shared = Arc::clone(&state);
        let listening = Listening::start(certificate, key, move |request| held(&shared).answer(request))?;
        Ok(Self { listening, state })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.listening.port()
    }

    /// The keys that it lets in.
    pub fn keys(&self) -> Vec<String> {
        held(&self.state).keys.clone()
    }

    /// What it was told, in order.
    pub fn told(&self) -> Vec<Request> {
        held(&self.state).told.clone()
    }

    /// Says from now on until when it takes the old key, in seconds since the epoch.
    pub fn says_until(&self, seconds: u64) {
        held(&self.state).old_valid_until = Some(seconds);
    }

    /// Answers this to the next words; `done`: after it has followed them.
    pub fn fail(&self, done: bool, reply: Reply) {
        held(&self.state).faults.push_back((done, reply));
    }
}

fn held(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let bearer = request.bearer().unwrap_or_default().to_owned();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/v1/who") if self.keys.contains(&bearer) => Reply::status(204),
            // It knows the administrator, who has no business here.
            ("GET", "/v1/who") if bearer == self.admin => Reply::status(403),
            ("GET", "/v1/who") => Reply::status(401),
            ("POST", "/v1/keys/new" | "/v1/keys/old") if bearer != self.admin => Reply::status(401),
            ("POST", path @ ("/v1/keys/new" | "/v1/keys/old")) => {
                self.told.push(request.clone());
                let is_new = path == "/v1/keys/new";
                match self.faults.pop_front() {
                    Some((false, reply)) => reply,
                    Some((true, reply)) => {
                        self.follow(request, is_new);
                        reply
                    }
                    None => self.follow(request, is_new),
                }
            }
            _ => Reply::status(404),
        }
    }

    fn follow(&mut self, request: &Request, is_new: bool) -> Reply {
        let document = request.json().unwrap_or_default();
        let fields = document.as_object().map_or(0, serde_json::Map::len);
        let (Some(key), 1, Some(_)) = (
            document["api_key"].as_str(),
            fields,
            request.header("idempotency-key"),
        ) else {
            return Reply::status(400);
        };
        let replaces = is_new && self.replaces;
        self.keys.retain(|held| !replaces && held != key);
        if is_new {
            self.keys.push(key.to_owned());
        }
        match self.old_valid_until {
            Some(until) if is_new => Reply::json(200, &json!({ "accepted": true, "old_valid_until": until })),
            _ => Reply::status(204),
        }
    }
}
