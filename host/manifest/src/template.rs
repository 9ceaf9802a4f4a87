use crate::call::{SecretRole, SecretUse};
use crate::pointer::Pointer;
use keywheel_model::Role;

/// One piece of a declared text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Text that is sent as it is.
    Text(String),
    /// `{/pointer}`
    Value(Pointer),
    /// `{ident:/pointer}`
    Identifier(Pointer),
    /// `{text}`
    AnyText,
    /// `{any}`
    AnyJson,
    /// `{role/part|derivation as form}`
    Secret(Pattern),
}

/// A secret as a shape names it: one role, and the exact part, derivation and form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) role: SecretRole,
    pub(crate) part: Option<Pointer>,
    pub(crate) derivation: Option<String>,
    pub(crate) form: Option<String>,
}

impl Pattern {
    /// Whether a use of a secret is the declared one.
    pub(crate) fn fits(&self, used: &SecretUse) -> bool {
        let part = match (&self.part, &used.part) {
            (None, None) => true,
            (Some(declared), Some(pointer)) => declared == pointer,
            _ => false,
        };
        part && used.roles.contains(&self.role)
            && self.derivation == used.derivation
            && self.form == used.form
    }
}

/// Parses a declared text. `{{` and `}}` stand for braces.
pub(crate) fn parse(text: &str) -> Result<Vec<Slot>, String> {
    let mut slots = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let inside = after
            .find('}')
            .filter(|_| brace == "{")
            .map(|end| (&after[..end], &after[end + 1..]));
        let Some((inside, after)) = inside else {
            return Err(format!(
                "unpaired `{brace}`; write `{brace}{brace}` for the character itself"
            ));
        };
        if !plain.is_empty() {
            slots.push(Slot::Text(std::mem::take(&mut plain)));
        }
        slots.push(parse_slot(inside)?);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        slots.push(Slot::Text(plain));
    }
    Ok(slots)
}

fn parse_slot(inside: &str) -> Result<Slot, String> {
    let pointer = |text: &str| {
        text.parse::<Pointer>()
            .map_err(|error| format!("`{{{inside}}}`: {error}"))
    };
    match inside {
        "text" => Ok(Slot::AnyText),
        "any" => Ok(Slot::AnyJson),
        value if value.starts_with('/') => pointer(value).map(Slot::Value),
        value => match value.strip_prefix("ident:") {
            Some(name) => pointer(name).map(Slot::Identifier),
            None => parse_secret(value).map(Slot::Secret),
        },
    }
}

fn parse_secret(inside: &str) -> Result<Pattern, String> {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
    };
    let unknown = || {
        format!(
            "`{{{inside}}}` is none of {{/pointer}}, {{ident:/pointer}}, {{text}}, {{any}}, {{current}}, {{pending}}, {{previous}}, {{subject}}, \
             {{input:NAME}}, {{state:KEY}}, {{session:NAME}}; a secret may go on with /part, |derivation, ` as FORM`"
        )
    };
    let (rest, form) = match inside.split_once(" as ") {
        Some((rest, form)) if word(form) => (rest, Some(form.to_owned())),
        Some(_) => return Err(unknown()),
        None => (inside, None),
    };
    let (rest, derivation) = match rest.split_once('|') {
        Some((rest, derivation)) if word(derivation) => (rest, Some(derivation.to_owned())),
        Some(_) => return Err(unknown()),
        None => (rest, None),
    };
    let (role, part) = match rest.find('/') {
        Some(at) => (
            &rest[..at],
            Some(
                rest[at..]
                    .parse::<Pointer>()
                    .map_err(|error| format!("`{{{inside}}}`: {error}"))?,
            ),
        ),
        None => (rest, None),
    };
    if part.as_ref().is_some_and(|part| part.around_star().is_some()) {
        return Err(format!("`{{{inside}}}`: a part of a secret has no `*`"));
    }
    let role = match role {
        "current" => SecretRole::Run(Role::Current),
        "pending" => SecretRole::Run(Role::Pending),
        "previous" => SecretRole::Run(Role::Previous),
        "subject" => SecretRole::Run(Role::Subject),
        other => match other.split_once(':') {
            Some(("input", name)) if word(name) => SecretRole::Input(name.to_owned()),
            Some(("state", key)) if word(key) => SecretRole::State(key.to_owned()),
            Some(("session", name)) if word(name) => SecretRole::Session(name.to_owned()),
            _ => return Err(unknown()),
        },
    };
    Ok(Pattern {
        role,
        part,
        derivation,
        form,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_role_part_derivation_and_form() {
        let slots = parse("{input:admin/password|argon2id as hex}").unwrap();
        let expected = Pattern {
            role: SecretRole::Input("admin".into()),
            part: Some("/password".parse().unwrap()),
            derivation: Some("argon2id".into()),
            form: Some("hex".into()),
        };
        assert_eq!(slots, [Slot::Secret(expected)]);
    }

    #[test]
    fn doubled_braces_are_text_and_unpaired_ones_are_refused() {
        assert_eq!(parse("a{{b}}").unwrap(), [Slot::Text("a{b}".into())]);
        for bad in [
            "{",
            "}",
            "{pending",
            "pending}",
            "{}",
            "{secret}",
            "{pending|}",
            "{input:}",
            "{pending/*}",
            "{ pending}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
