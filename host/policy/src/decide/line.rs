//! Which line of a grant allows a request.

use std::slice;

use crate::decide::{Binding, Request, SecretRef};
use crate::grant::{Grant, SecretRule, quoted};
use crate::host::{Destination, HostRule, Place};

/// The line, with the one entry in it that allows the request. `None`: the grant has none.
pub(super) fn allowing(grant: &Grant, binding: &Binding<'_>, request: Request<'_>) -> Option<String> {
    match request {
        Request::Call(capability) => {
            let entry = grant.capabilities.get(&capability)?;
            Some(list("capabilities", entry))
        }
        Request::Connect {
            host,
            port,
            transport,
        } => {
            let place = Place {
                host,
                port,
                transport,
                configuration: binding.configuration,
            };
            let opens = |rule: &&HostRule| Destination::both(slice::from_ref(*rule), None, &place).is_open();
            let entry = grant.hosts.iter().find(opens)?;
            Some(list("hosts", entry))
        }
        Request::Shape(shape) => {
            let (id, digest) = grant.shapes.get_key_value(shape.id())?;
            (*digest == shape.digest()).then(|| format!("[shapes] {id} = \"{digest}\""))
        }
        Request::Use(secret) => {
            let entry = secret_rule(grant, binding, secret)?;
            Some(list("secrets", entry))
        }
        Request::Reveal(name) => {
            let entry = grant.reveal.get(name)?;
            Some(list("reveal", entry))
        }
    }
}

fn list(key: &str, entry: impl std::fmt::Display) -> String {
    format!("{key} = [{}]", quoted(std::iter::once(entry)))
}

fn secret_rule<'a>(grant: &'a Grant, binding: &Binding<'_>, secret: SecretRef<'_>) -> Option<&'a SecretRule> {
    let (direct, name) = match secret {
        SecretRef::Own => (Some(SecretRule::Own), Some(binding.secret)),
        SecretRef::Input(input) => (
            Some(SecretRule::Input(input.to_owned())),
            binding.inputs.get(input),
        ),
        SecretRef::Vault(name) => (None, Some(name)),
    };
    // An input that the rotation does not name is nobody's secret.
    let name = name?;
    grant
        .secrets
        .iter()
        .find(|rule| direct.as_ref() == Some(*rule) || rule.covers(name))
}
