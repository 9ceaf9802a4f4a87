//! The management API, as the administrator asks it.

use keywheel_sdk::bindings::keywheel::core::secrets::Composer;
use keywheel_sdk::error::{admin_refused, error, missing};
use keywheel_sdk::http::{Api, Call, Reply};
use keywheel_sdk::{Error, ErrorKind, Outcome, Run, Secret};
use serde_json::{Value, json};

use crate::Config;

/// The form in which the server keeps passwords.
pub(crate) const HASH: &str = "rabbitmq.sha256";
const HASHING: &str = "rabbit_password_hashing_sha256";
const TIMEOUT_MS: u32 = 15_000;
const USERS: &str = "/api/users";

/// A virtual host, and what may be done there, as the server's own tool takes it.
pub(crate) type Permission = (String, Vec<String>);

/// A user as the server lists it: what is replaced with its password.
pub(crate) struct User {
    /// A list, or with older servers a text.
    tags: Value,
}

impl User {
    /// In the order of words.
    pub(crate) fn tags(&self) -> Vec<String> {
        let listed = self.tags.as_array().into_iter().flatten().filter_map(Value::as_str);
        let written = self.tags.as_str().unwrap_or_default().split(',');
        let tags = listed.chain(written).map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty());
        let mut tags: Vec<String> = tags.collect();
        tags.sort();
        tags
    }
}

impl Config {
    fn api(&self) -> Api<'_> {
        let (host, trust) = (self.host.as_str(), self.trust.as_deref());
        Api { host, port: self.port, trust, timeout_ms: TIMEOUT_MS, headers: Vec::new() }
    }
}

/// A login of the user: names are such that they stand in a path as they are (schema.json).
pub(crate) fn whoami(config: &Config, name: &str, password: &Secret) -> Result<Reply, Error> {
    config.api().request("GET", "/api/whoami")?.basic(name, password)?.send()
}

/// The server, by the administrator's password.
pub(crate) struct Admin<'a> {
    config: &'a Config,
    password: Secret,
}

impl<'a> Admin<'a> {
    pub(crate) fn open(run: &Run, config: &'a Config) -> Result<Self, Error> {
        Ok(Self { config, password: run.input("admin")? })
    }

    fn request(&self, method: &str, path: &str) -> Result<Call, Error> {
        self.config.api().request(method, path)?.basic(&self.config.admin, &self.password)
    }

    /// What the server knows of a user.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn user(&self, name: &str) -> Result<User, Error> {
        let reply = self.request("GET", &format!("{USERS}/{name}"))?.send()?;
        if reply.status() == 404 {
            return Err(missing("the user", name));
        }
        let document = taken(reply, "reading the user")?.document();
        match &document["tags"] {
            Value::Null => Err(error(ErrorKind::Other, "rabbitmq.answer", "the server lists a user without its tags")),
            tags => Ok(User { tags: tags.clone() }),
        }
    }

    /// Whether a user can log in with a password at all. Its hash stays with the host.
    pub(crate) fn has_password(&self, name: &str) -> Result<bool, Error> {
        let request = self.request("GET", &format!("{USERS}/{name}"))?.hides("hash", "/password_hash")?;
        match request.send() {
            Ok(reply) => taken(reply, "reading the user").map(|_| true),
            // There is none, or it is empty.
            Err(problem) if problem.code == "http.capture" => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    /// A user's permissions, or with `topic-permissions` those of topics.
    pub(crate) fn permissions(&self, name: &str, kind: &str) -> Result<Vec<Permission>, Error> {
        let reply = taken(self.request("GET", &format!("{USERS}/{name}/{kind}"))?.send()?, "reading permissions")?;
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let fields: &[&str] =
            if kind == "permissions" { &["configure", "write", "read"] } else { &["exchange", "write", "read"] };
        let document = reply.document();
        let entries = document.as_array().into_iter().flatten();
        Ok(entries
            .map(|entry| (text(entry, "vhost"), fields.iter().map(|field| text(entry, field)).collect()))
            .collect())
    }

    /// Gives a user the password of a hash.
    pub(crate) fn set(&self, name: &str, hash: &Secret) -> Result<Outcome, Error> {
        let tags = self.user(name)?.tags;
        let document = Composer::new("application/json");
        document.text(&format!(r#"{{"tags":{tags},"hashing_algorithm":"{HASHING}","password_hash":""#))?;
        document.secret(hash, "json")?;
        document.text("\"}")?;
        let document = Composer::finish(document)?;
        let reply = self.request("PUT", &format!("{USERS}/{name}"))?.secret_json(&document)?.send()?;
        taken(reply, "setting the password").map(|_| Outcome::Done)
    }

    /// Takes a user's password away. One that is gone takes none.
    pub(crate) fn clear(&self, name: &str) -> Result<Outcome, Error> {
        let user = match self.user(name) {
            Ok(user) => user,
            Err(problem) if problem.kind == ErrorKind::NotFound => return Ok(Outcome::Done),
            Err(problem) => return Err(problem),
        };
        let document = json!({ "tags": user.tags, "hashing_algorithm": HASHING, "password_hash": "" });
        let reply = self.request("PUT", &format!("{USERS}/{name}"))?.json(&document)?.send()?;
        taken(reply, "taking the password away").map(|_| Outcome::Done)
    }
}

/// An answer to the administrator. The server says 401 to one whose password is right, too, when it lacks the tag.
fn taken(reply: Reply, what: &str) -> Result<Reply, Error> {
    if reply.status() != 401 {
        return reply.accepted(what);
    }
    let reason = reply.text("/reason").unwrap_or_default();
    if reason.starts_with("Not ") {
        let message = format!("{what}: the administrator's password is right, and it lacks the tag `administrator`");
        return Err(error(ErrorKind::Denied, "rabbitmq.rights", message));
    }
    Err(admin_refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_same_in_both_ways_to_write_them() {
        let tags = |tags: Value| User { tags }.tags();
        assert_eq!(tags(json!(["monitoring", "management"])), ["management", "monitoring"]);
        assert_eq!(tags(json!("monitoring, management")), ["management", "monitoring"]);
        assert!(tags(json!("")).is_empty() && tags(json!([])).is_empty());
    }
}
