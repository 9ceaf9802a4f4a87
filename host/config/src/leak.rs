//! Recognises a secret's value where only its name belongs. What it finds is refused and blackened in every report.

/// What a text looks like, in words, if it looks like a secret's value.
pub(crate) fn recognise(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    if has_password_in_url(text) {
        return Some("a URL with a password in it");
    }
    TOKENS
        .iter()
        .find(|(start, least, _)| is_token(text, start, *least))
        .map(|(_, _, what)| *what)
}

/// Whether a key names a value that must not stand in a file: `password`, `admin_password`, `apiKey`.
pub(crate) fn names_a_value(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    [
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "privatekey",
        "apikey",
        "accesskey",
        "secretkey",
        "clientsecret",
        "token",
    ]
    .iter()
    .any(|end| plain.ends_with(end))
}

/// Published prefixes of credentials, the least number of characters after them, and what they are.
const TOKENS: [(&str, usize, &str); 14] = [
    ("SG.", 40, "a SendGrid key"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("sk_test_", 16, "a Stripe key"),
    ("ghp_", 30, "a GitHub token"),
    ("github_pat_", 30, "a GitHub token"),
    ("glpat-", 16, "a GitLab token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("AKIA", 16, "an AWS access key"),
    ("hvs.", 20, "a Vault token"),
    ("AGE-SECRET-KEY-1", 40, "an age identity"),
    ("SCRAM-SHA-256$", 40, "a password verifier"),
    ("$argon2id$", 20, "a password hash"),
];

fn is_token(text: &str, start: &str, least: usize) -> bool {
    text.strip_prefix(start)
        .is_some_and(|rest| rest.len() >= least && !rest.contains(char::is_whitespace))
}

/// What a template has where the password is to stand; in a rotation of a table braces are doubled.
const PLACES: [&str; 2] = ["{password}", "{{password}}"];

fn has_password_in_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let has_password = if let Some((user, _)) = authority.rsplit_once('@') {
        user.split_once(':')
            .is_some_and(|(_, password)| !password.is_empty() && !PLACES.contains(&password))
    } else {
        // A password with one of those characters in it, as it is: what is behind the colon is no port.
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        !host.starts_with('[') && !is_port && rest.contains('@')
    };
    !scheme.contains(char::is_whitespace) && has_password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_urls_and_tokens_are_recognised() {
        assert_eq!(
            recognise("postgres://app:hunter2@db:5432/x"),
            Some("a URL with a password in it")
        );
        // As it was typed, although a URL would have it escaped.
        for typed in ["postgres://app:hun/ter2@db/x", "https://app:a?b@db"] {
            assert_eq!(recognise(typed), Some("a URL with a password in it"), "{typed}");
        }
        assert_eq!(
            recognise("-----BEGIN EC PRIVATE KEY-----\nMIG"),
            Some("a private key")
        );
        assert_eq!(
            recognise(&format!("sk_live_{}", "a".repeat(24))),
            Some("a Stripe key")
        );
    }

    #[test]
    fn names_of_secrets_and_plain_addresses_are_not() {
        for good in [
            "app/db",
            "postgres://app@db:5432/x",
            "postgres://{user}:{password}@db:5432/x",
            "https://[::1]:8443/a@b:c",
            "https://db:8443/a@b",
            "db-7.internal",
            "SG.",
            "AKIA",
        ] {
            assert_eq!(recognise(good), None, "{good}");
        }
    }

    #[test]
    fn a_key_that_names_a_value_is_recognised_in_any_spelling() {
        for key in [
            "password",
            "admin_password",
            "apiKey",
            "API-KEY",
            "bind.passwd",
            "adminPwd",
            "pass",
            "token",
        ] {
            assert!(names_a_value(key), "{key}");
        }
        for key in ["password_policy", "tokens_max", "user", "secret_name"] {
            assert!(!names_a_value(key), "{key}");
        }
    }
}
