//! Accounts of a server, and every client that is to get in by a string of each of them.

use std::path::Path;

use keywheel_connection_string::{ConnectionString, Error, Form};
use keywheel_strings::{Attempt, Language, passwords, users};

/// How many random passwords there are beside the chosen ones.
const RANDOM: usize = 6;

pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// An account for each hostile password, with hostile names in turn.
pub(crate) fn logins() -> Vec<Login> {
    let name = |at: usize| format!("{}{at}", users()[at % users().len()]);
    let login = |(at, password)| Login {
        user: name(at),
        password,
    };
    passwords(RANDOM).into_iter().enumerate().map(login).collect()
}

/// A string with `u` and `p` where user name and password belong.
pub(crate) struct Template {
    form: Form,
    text: String,
}

impl Template {
    pub(crate) fn new(form: Form, text: String) -> Self {
        Self { form, text }
    }

    /// None: the form has no way to write it.
    fn of(&self, user: &str, password: &str) -> Option<String> {
        let put = |text: &str, key: &str, value: &str| {
            let read = ConnectionString::parse_as(self.form, text).unwrap();
            match read.with_part(key, value) {
                Ok(made) => Some(made.to_string()),
                Err(Error::Unwritable { .. }) => None,
                Err(error) => panic!("{:?}: {error}", self.form),
            }
        };
        let named = put(&self.text, "user", user)?;
        put(&named, "password", password)
    }
}

/// Each client gets in by each of its forms with each login, and by none of them with another password.
pub(crate) fn try_all(
    language: Language,
    ca: &Path,
    clients: &[(&'static str, &[Form])],
    templates: &[Template],
    logins: &[Login],
) {
    let (mut attempts, mut is_right) = (Vec::new(), Vec::new());
    for (client, forms) in clients {
        for template in templates.iter().filter(|template| forms.contains(&template.form)) {
            let before = attempts.len();
            let good = logins.iter().map(|login| (login, login.password.clone(), true));
            let bad = logins.first().map(|login| (login, "another".to_owned(), false));
            for (login, password, right) in good.chain(bad) {
                let Some(string) = template.of(&login.user, &password) else {
                    continue;
                };
                attempts.push(Attempt { client, string });
                is_right.push(right);
            }
            let made = attempts.len() - before;
            assert!(
                made > logins.len() / 2,
                "{client}: {:?} can write only {made}",
                template.form
            );
            println!("{client}, {}: {made} strings", template.form);
        }
    }
    let answers = match language.ask(ca, &attempts) {
        Ok(answers) => answers,
        Err(error) if std::env::var_os("KEYWHEEL_CLIENTS").is_none() => {
            eprintln!("skipped: the clients in {language:?} are not to be had: {error:#}");
            return;
        }
        Err(error) => panic!("{error:#}"),
    };
    let wrong: Vec<String> = attempts
        .iter()
        .zip(&answers)
        .zip(&is_right)
        .filter(|((_, answer), right)| answer.is_none() != **right)
        .map(|((attempt, answer), right)| {
            format!("{}: {} ({right}): {answer:?}", attempt.client, attempt.string)
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        attempts.len(),
        wrong.join("\n")
    );
}
