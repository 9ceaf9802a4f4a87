//! Plugins for services that issue keys, whole: what is left to each of them is its requests.
//!
//! A plugin implements [`Service`], and exports `Issuing` of it:
//!
//! ```ignore
//! type Exported = keywheel_sdk::issuing::Issuing<Example>;
//! keywheel_sdk::export!(Exported);
//! ```
//!
//! The steps are those of [`crate::keys`]. What a service answers to a key is a verdict by its status alone ([`verdict`]): 401 is a key that it does not know,
//! 403 one that it knows and that lacks a right.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::error;
use crate::http::{Api, Reply, is_forbidden};
use crate::keys::{self, Issuer, Listed};
use crate::{Error, ErrorKind, Outcome, Plan, Plugin, Run, Verdict};

/// More pages of a list than this are somebody else's list.
const MOST_PAGES: usize = 100;
/// What begins the names of keys where the configuration says nothing else.
const MARKER: &str = "keywheel";
const TIMEOUT_MS: u32 = 15_000;

/// What the configuration of every such service has, as plugins flatten it into theirs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Common {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// A trust set of the host's configuration; none: the operating system's authorities.
    pub trust: Option<String>,
    /// What begins the names of new keys.
    pub marker: Option<String>,
    /// The id of the imported key.
    pub key_id: Option<String>,
}

impl Common {
    /// The service, by TLS.
    pub fn api(&self) -> Api<'_> {
        let (host, trust) = (self.host.as_str(), self.trust.as_deref());
        Api { host, port: self.port, trust, timeout_ms: TIMEOUT_MS, headers: Vec::new() }
    }
}

/// A service that issues keys, for the whole of a plugin.
pub trait Service {
    /// What `schema.json` describes.
    type Config: DeserializeOwned;
    /// The service, opened by an administrator.
    type Account<'a>: Issuer;

    /// What the plugin says.
    const WORDS: Words;

    /// Opens the service.
    ///
    /// # Errors
    /// The vault cannot be read.
    fn open<'a>(run: &'a Run, config: &'a Self::Config) -> Result<Self::Account<'a>, Error>;

    /// What every such configuration has.
    fn common(config: &Self::Config) -> &Common;

    /// What is wrong with a configuration that fits the schema: the place, and the words.
    fn check(_config: &Self::Config) -> Vec<(String, String)> {
        Vec::new()
    }

    /// As many keys as the service keeps, and the code of having that many; none: it sets no limit that is known.
    fn most(_config: &Self::Config) -> Option<(usize, &'static str)> {
        None
    }

    /// What is to be seen beside the list of keys.
    ///
    /// # Errors
    /// Of the host or the service.
    fn look(plan: &mut Plan, run: &Run, account: &Self::Account<'_>, config: &Self::Config) -> Result<(), Error>;

    /// Asks the service with the subject.
    ///
    /// # Errors
    /// Of the host, or the service is not to be reached.
    fn test(run: &Run, config: &Self::Config) -> Result<Verdict, Error>;
}

/// What a plugin for such a service says.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// How a key is made: method and path.
    pub create: &'static str,
    /// How one is asked.
    pub test: &'static str,
    /// How one is deleted.
    pub delete: &'static str,
    /// The codes of keys of this rotation that nobody knows, and of a current key that is not known.
    pub codes: [&'static str; 2],
    /// The code of a right that the administrator lacks.
    pub rights: &'static str,
    /// What rights it needs.
    pub needs: &'static str,
}

/// The plugin for a service.
#[derive(Debug)]
pub struct Issuing<S>(PhantomData<S>);

fn marker<S: Service>(config: &S::Config) -> &str {
    S::common(config).marker.as_deref().unwrap_or(MARKER)
}

impl<S: Service> Plugin for Issuing<S> {
    type Config = S::Config;

    fn check(config: &S::Config) -> Vec<(String, String)> {
        S::check(config)
    }

    fn plan(run: &Run, config: &S::Config) -> Result<Plan, Error> {
        let words = S::WORDS;
        let mut plan = Plan::default();
        let name = keys::prefix_of(run, marker::<S>(config));
        plan.step("create", format!("{}: {name}-…", words.create));
        plan.step("apply", "nothing: a key is good from the moment that it is made");
        plan.step("test", format!("{} with the new key", words.test));
        plan.step("revoke", format!("{} of the old key", words.delete));
        let account = S::open(run, config)?;
        let (most, limit) = S::most(config).unwrap_or((usize::MAX, ""));
        let [stray, key_id] = words.codes;
        let codes = [limit, stray, key_id];
        let seen = keys::examine(&mut plan, run, &account, marker::<S>(config), codes, most)
            .and_then(|()| S::look(&mut plan, run, &account, config));
        match seen {
            // It was let in: what it lacks, somebody can give it.
            Err(denied) if is_forbidden(&denied) => {
                plan.problem(words.rights, denied.message, words.needs);
            }
            seen => seen?,
        }
        Ok(plan)
    }

    fn create(run: &Run, config: &S::Config) -> Result<Outcome, Error> {
        keys::create(run, &S::open(run, config)?, marker::<S>(config))
    }

    /// A key is good from the moment that it is made.
    fn apply(_run: &Run, _config: &S::Config) -> Result<Outcome, Error> {
        Ok(Outcome::Done)
    }

    fn test(run: &Run, config: &S::Config) -> Result<Verdict, Error> {
        S::test(run, config)
    }

    fn revoke(run: &Run, config: &S::Config) -> Result<Outcome, Error> {
        keys::revoke(run, &S::open(run, config)?)
    }

    fn rollback(run: &Run, config: &S::Config) -> Result<Outcome, Error> {
        keys::rollback(run, &S::open(run, config)?)
    }
}

/// What the answer to a key's request says of it. Trouble of the service is an error: it is no verdict, and passes.
///
/// # Errors
/// The service is busy or broken.
pub fn verdict(reply: &Reply) -> Result<Verdict, Error> {
    Ok(match reply.status() {
        200..=299 => Verdict::Accepted,
        401 => Verdict::Rejected,
        403 => Verdict::Limited("the service knows the key, and does not let it in here (403)".to_owned()),
        408 | 429 | 500..=599 => return Err(reply.problem("asking with the key")),
        status => Verdict::Unknown(format!("the service answered {status}")),
    })
}

/// The answer to a request that deletes: what is gone already is deleted.
///
/// # Errors
/// It is none of the two.
pub fn deleted(reply: Reply) -> Result<(), Error> {
    if reply.status() == 404 { Ok(()) } else { reply.accepted("deleting a key").map(drop) }
}

/// Reads a list page by page, from 0, until one is not full. `keys`: where a page has its list.
///
/// # Errors
/// Of `read`; `code`: a page is none, or they do not end.
pub fn pages(
    code: &str,
    size: usize,
    keys: &str,
    mut read: impl FnMut(usize) -> Result<Reply, Error>,
) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    for number in 0..MOST_PAGES {
        let page = read(number)?.accepted("listing the keys")?.document();
        let found = page.pointer(keys).and_then(Value::as_array).ok_or_else(|| garbled(code, "the list of keys"))?;
        all.extend(found.iter().cloned());
        if found.len() < size {
            return Ok(all);
        }
    }
    Err(garbled(code, "the list of keys, which does not end,"))
}

/// The keys of a list, by the pointers of id and name in each. An id may be a number; what has none is no key.
pub fn listed(keys: &[Value], id: &str, name: &str) -> Vec<Listed> {
    let keys = keys.iter().map(|key| Listed { id: word(key, id), name: word(key, name) });
    keys.filter(|key| !key.id.is_empty()).collect()
}

/// The id of a new key, at a pointer in the answer.
///
/// # Errors
/// It has none there: `code`.
pub fn id_at(reply: &Reply, pointer: &str, code: &str) -> Result<String, Error> {
    let id = word(&reply.document(), pointer);
    if id.is_empty() { Err(garbled(code, "the answer to a new key: it has no id")) } else { Ok(id) }
}

/// A text or a number at a pointer, or nothing.
pub fn word(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// An answer that is not what the service documents.
pub fn garbled(code: &str, what: &str) -> Error {
    error(ErrorKind::Other, code, format!("{what} is not what the service documents"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_texts_or_numbers_and_what_is_missing_is_empty() {
        let keys = [json!({ "id": 7, "name": "a" }), json!({ "id": "x", "more": { "name": "b" } }), json!("z")];
        let found: Vec<(String, String)> =
            listed(&keys, "/id", "/name").into_iter().map(|key| (key.id, key.name)).collect();
        let expected = [("7", "a"), ("x", "")];
        assert_eq!(found, expected.map(|(id, name)| (id.to_owned(), name.to_owned())));
    }
}
