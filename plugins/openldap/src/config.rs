//! What the operator says.

use keywheel_sdk::ldap::Server;
use keywheel_sdk::{Accounts, Error, Run, Secret, Version};
use serde::Deserialize;

/// With which hash a version was set: it has the value that can be taken away again.
const HASH: &str = "hash";

/// Each as schema.json describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) server: Server,
    pub(crate) entry: String,
    pub(crate) admin: String,
    values: Option<Values>,
    hash: Option<Hash>,
    pub(crate) policy: Option<String>,
}

/// How many passwords an entry may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Values {
    Several,
    One,
}

/// In what form the server is given a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hash {
    Ssha,
    Ssha512,
    /// As it is: the server hashes it by itself.
    None,
}

impl Hash {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ssha => "ssha",
            Self::Ssha512 => "ssha512",
            Self::None => "none",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Ssha, Self::Ssha512, Self::None].into_iter().find(|hash| hash.word() == word)
    }
}

impl Config {
    pub(crate) fn accounts(&self) -> Accounts<'_> {
        Accounts::one(&self.entry)
    }

    pub(crate) fn is_one(&self) -> bool {
        self.values == Some(Values::One)
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash.unwrap_or(Hash::Ssha)
    }

    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |place: &str, message: &str| problems.push((place.to_owned(), message.to_owned()));
        if same_name(&self.entry, &self.admin) {
            problem("/admin", "must be another entry than the one that is rotated");
        }
        if self.hash == Some(Hash::None) && !self.is_one() {
            let message =
                "is for `values = \"one\"`: a password that the server hashes cannot be told from the others later";
            problem("/hash", message);
        }
        problems
    }

    /// Notes how the version that is about to be made will be set.
    pub(crate) fn note_hash(&self, run: &Run) -> Result<(), Error> {
        if run.pending()?.is_some() { Ok(()) } else { run.annotate(HASH, self.hash().word()) }
    }

    /// How a version was set; none for one that was not made here.
    pub(crate) fn hash_of(run: &Run, version: Version) -> Result<Option<Hash>, Error> {
        Ok(run.annotation(version.as_str(), HASH)?.and_then(|word| Hash::from_word(&word)))
    }

    /// The password of a version as the server is given it; none if there is no such version. The same each time.
    pub(crate) fn value(&self, run: &Run, version: Version) -> Result<Option<Secret>, Error> {
        let Some(password) = self.accounts().password_if_any(run, version)? else { return Ok(None) };
        let hash = Self::hash_of(run, version)?.unwrap_or(self.hash());
        match hash {
            Hash::None => Ok(Some(password)),
            hash => password.derive(&format!("ldap.{}", hash.word()), "").map(Some),
        }
    }
}

/// Whether two names are written alike but for the size of letters and blanks around separators.
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

fn plain(name: &str) -> String {
    let parts = name.split(',').map(|part| {
        let sides = part.split('=').map(|side| side.trim().to_lowercase());
        sides.collect::<Vec<_>>().join("=")
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(more: &str) -> Vec<(String, String)> {
        let text = format!(r#"{{"host":"h","port":636,"entry":"cn=app,dc=x"{more}}}"#);
        serde_json::from_str::<Config>(&text).unwrap().problems()
    }

    #[test]
    fn the_administrator_is_another_entry_and_a_bare_password_is_the_only_one() {
        assert!(problems(r#","admin":"cn=admin,dc=x","hash":"ssha512","values":"several""#).is_empty());
        assert!(problems(r#","admin":"cn=admin,dc=x","hash":"none","values":"one""#).is_empty());
        assert_eq!(problems(r#","admin":"CN = App, dc=x""#)[0].0, "/admin");
        assert_eq!(problems(r#","admin":"cn=admin,dc=x","hash":"none""#)[0].0, "/hash");
    }

    #[test]
    fn names_are_compared_as_a_directory_writes_them() {
        assert!(same_name("cn=App, ou=Services,dc=x", "CN=app,ou=services,dc=x"));
        assert!(!same_name("cn=app,dc=x", "cn=app,dc=y") && !same_name("cn=a p,dc=x", "cn=ap,dc=x"));
    }
}
