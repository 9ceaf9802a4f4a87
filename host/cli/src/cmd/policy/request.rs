//! One thing that a plugin could want, in the words of the table tests: `connect db:5432 tls`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use keywheel_manifest::{Capability, Manifest};
use keywheel_model::SecretName;
use keywheel_policy::{Decision, Request, Scope, SecretRef, Transport};

/// What stands after `policy explain ROTATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// `call sql`
    Call(Capability),
    /// `connect HOST:PORT tls|plaintext`, and `at ADDRESS` where the name has led there
    Connect {
        host: String,
        port: u16,
        transport: Transport,
        address: Option<IpAddr>,
    },
    /// `shape ID`
    Shape(String),
    /// `use {secret}`
    UseOwn,
    /// `use {input:NAME}`
    UseInput(String),
    /// `use NAME`
    Use(SecretName),
    /// `reveal NAME`
    Reveal(SecretName),
    /// `rule CODE`: of a refused call that is about no grant
    Rule(String),
}

/// The forms there are.
pub(crate) const FORMS: &str = "`call CAPABILITY`, `connect HOST:PORT tls|plaintext [at ADDRESS]`, `shape ID`, `use {secret}`, \
                                `use {input:NAME}`, `use SECRET`, `reveal SECRET`, `rule CODE`";

/// Why words are no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    /// None of the forms.
    #[error("`{0}` is no request")]
    Form(String),
    /// A part of it is wrong.
    #[error("`{words}`: {why}")]
    Part { words: String, why: String },
}

impl FromStr for Words {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
        let wrong = |why: &dyn fmt::Display| WordsError::Part {
            words: shown.clone(),
            why: why.to_string(),
        };
        let name = |text: &str| text.parse::<SecretName>().map_err(|error| wrong(&error));
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["call", capability] => Ok(Self::Call(
                capability.parse().map_err(|error: String| wrong(&error))?,
            )),
            ["connect", .., "at", address] => {
                let address = address
                    .parse()
                    .map_err(|_| wrong(&"expected an address after `at`"))?;
                let place = text.rsplit_once(" at ").map_or(text, |(place, _)| place);
                connect(place, Some(address)).map_err(|why| wrong(&why))
            }
            ["connect", _, ..] => connect(text, None).map_err(|why| wrong(&why)),
            ["shape", id] => Ok(Self::Shape((*id).to_owned())),
            ["use", "{secret}"] => Ok(Self::UseOwn),
            ["use", secret] => match secret
                .strip_prefix("{input:")
                .and_then(|input| input.strip_suffix('}'))
            {
                Some(input) => Ok(Self::UseInput(input.to_owned())),
                None => Ok(Self::Use(name(secret)?)),
            },
            ["reveal", secret] => Ok(Self::Reveal(name(secret)?)),
            ["rule", code] => Ok(Self::Rule((*code).to_owned())),
            _ => Err(WordsError::Form(shown)),
        }
    }
}

/// `connect HOST:PORT tls`. What a plugin has asked for need be no host: it may have spaces in it.
fn connect(text: &str, address: Option<IpAddr>) -> Result<Words, &'static str> {
    let words = text.trim().strip_prefix("connect").unwrap_or(text);
    let (place, transport) = words
        .trim()
        .rsplit_once(' ')
        .ok_or("expected HOST:PORT, and `tls`, `plaintext` or `socket`")?;
    let (host, port) = place.rsplit_once(':').ok_or("expected HOST:PORT")?;
    let port = port.parse().map_err(|_| "a port is a number up to 65535")?;
    let transport = Transport::of_word(transport).ok_or("expected `tls`, `plaintext` or `socket`")?;
    Ok(Words::Connect {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port,
        transport,
        address,
    })
}

impl Words {
    /// Asks the grants. `None`: a shape that the plugin's manifest does not declare, or a rule, neither of which a grant can allow.
    pub(crate) fn decide(&self, scope: &Scope<'_>, manifest: Option<&Manifest>) -> Option<Decision> {
        Some(scope.decide(match self {
            Self::Call(capability) => Request::Call(*capability),
            Self::Connect {
                host,
                port,
                transport,
                ..
            } => Request::Connect {
                host,
                port: *port,
                transport: *transport,
            },
            Self::Shape(id) => Request::Shape(manifest?.shape(id)?),
            Self::UseOwn => Request::Use(SecretRef::Own),
            Self::UseInput(input) => Request::Use(SecretRef::Input(input)),
            Self::Use(secret) => Request::Use(SecretRef::Vault(secret)),
            Self::Reveal(secret) => Request::Reveal(secret),
            Self::Rule(_) => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let connect = Words::Connect {
            host: "::1".into(),
            port: 5432,
            transport: Transport::Tls,
            address: None,
        };
        assert_eq!("connect [::1]:5432 tls".parse(), Ok(connect));
        let led = Words::Connect {
            host: "db".into(),
            port: 5432,
            transport: Transport::Plaintext,
            address: Some("10.0.0.1".parse().unwrap()),
        };
        assert_eq!("connect db:5432 plaintext at 10.0.0.1".parse(), Ok(led));
        let socket = Words::Connect {
            host: "/run/postgresql".into(),
            port: 5432,
            transport: Transport::Socket,
            address: None,
        };
        assert_eq!("connect /run/postgresql:5432 socket".parse(), Ok(socket));
        let no_host = Words::Connect {
            host: r"localhost\r\nHost: x".into(),
            port: 1,
            transport: Transport::Tls,
            address: None,
        };
        assert_eq!(r"connect localhost\r\nHost: x:1 tls".parse(), Ok(no_host));
        assert_eq!("rule shape.none".parse(), Ok(Words::Rule("shape.none".into())));
        assert_eq!("call sql".parse(), Ok(Words::Call(Capability::Sql)));
        assert_eq!("use {secret}".parse(), Ok(Words::UseOwn));
        assert_eq!("use {input:admin}".parse(), Ok(Words::UseInput("admin".into())));
        assert_eq!(
            "reveal app/db".parse(),
            Ok(Words::Reveal("app/db".parse().unwrap()))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "call",
            "call everything",
            "connect db tls",
            "connect db:x tls",
            "connect db:1 ssl",
            "connect db:1 tls at home",
            "connect",
            "rule",
            "use ../x",
            "eat",
        ] {
            assert!(bad.parse::<Words>().is_err(), "{bad:?}");
        }
    }
}
