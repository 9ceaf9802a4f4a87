//! The accounts that a rotation changes: one, or two that take turns, and the versions that are their passwords.

use crate::bindings::keywheel::core::secrets::{Composer, PasswordPolicy, generate_password};
use crate::error::{ErrorExt as _, error};
use crate::{Error, ErrorKind, Outcome, Run, Secret};

use serde::Deserialize;

const ANNOTATION: &str = "username";
/// The account that clients used before this version.
const BEFORE: &str = "username-before";
/// Where a template has the password, and the user name.
const PASSWORD: &str = "{password}";
const USER: &str = "{user}";
const CONNECTION_STRING: &str = "connection-string";

/// A version of the rotated secret, as a step sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What clients use now.
    Current,
    /// What is being rotated in.
    Pending,
    /// What clients used before, until it is revoked.
    Previous,
    /// What this call of `test` or `revoke` is about.
    Subject,
}

impl Version {
    /// The word for it in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Pending => "pending",
            Self::Previous => "previous",
            Self::Subject => "subject",
        }
    }

    /// The secret itself; none if there is no such version.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn find(self, run: &Run) -> Result<Option<Secret>, Error> {
        match self {
            Self::Current => run.current(),
            Self::Pending => run.pending(),
            Self::Previous => run.previous(),
            Self::Subject => run.subject().map(Some),
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    /// `not-found` if there is no such version; the vault cannot be read.
    pub fn get(self, run: &Run) -> Result<Secret, Error> {
        let missing =
            || error(ErrorKind::NotFound, "version.missing", format!("there is no {} version", self.as_str()));
        self.find(run)?.ok_or_else(missing)
    }
}

/// What the secret is: the `format` of a plugin's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The bare password.
    Password,
    /// A JSON document with `username` and `password`.
    Json,
    /// A connection string as its clients take it, of which the password changes, and the user name where two accounts take turns.
    ConnectionString,
}

/// How the secret is written, as plugins flatten it into their configuration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Written {
    /// What it is; left out: a bare password of one account, a JSON document of two.
    pub format: Option<Form>,
    /// The first connection string, while there is none: with `{password}` and, where it has the user name, `{user}`.
    pub template: Option<String>,
}

impl Written {
    /// As [`Written::problems`] of one account, which its administrator is not.
    pub fn problems_of(&self, user: &str, admin: &str) -> Vec<(String, String)> {
        let problem = || ("/admin".to_owned(), "must be another user than the one that is rotated".to_owned());
        (user == admin).then(problem).into_iter().chain(self.problems(1)).collect()
    }

    /// What a schema cannot say, for [`crate::Plugin::check`]: the place, and what is wrong there. `accounts`: how many take turns.
    pub fn problems(&self, accounts: usize) -> Vec<(String, String)> {
        let Some(template) = &self.template else { return Vec::new() };
        let times = |word: &str| template.matches(word).count();
        let message = match (self.format, times(PASSWORD), times(USER)) {
            (Some(Form::ConnectionString), 1, 1) => return Vec::new(),
            (Some(Form::ConnectionString), 1, 0) if accounts == 1 => return Vec::new(),
            (Some(Form::ConnectionString), 1, 0) => "needs {user}, since two users take turns",
            (Some(Form::ConnectionString), 1, _) => "has {user} more than once",
            (Some(Form::ConnectionString), ..) => "needs {password} once, where the password belongs",
            _ => "is for format = \"connection-string\"",
        };
        vec![("/template".to_owned(), message.to_owned())]
    }
}

/// Where a secret with parts has the user name and the password.
struct Parts {
    format: &'static str,
    user: &'static str,
    password: &'static str,
}

impl Form {
    fn parts(self) -> Option<Parts> {
        match self {
            Self::Password => None,
            Self::Json => Some(Parts { format: "json", user: "/username", password: "/password" }),
            Self::ConnectionString => Some(Parts { format: CONNECTION_STRING, user: "user", password: "password" }),
        }
    }
}

/// What a rollback comes to where an account holds one password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back<'a> {
    /// Nothing was put on.
    Nothing,
    /// The account gets the current version's password again.
    Restore,
    /// This account, which nobody uses, is to take no pending password any more.
    Shut(&'a str),
}

/// One account, or two of which each rotation takes the one that clients do not use.
#[derive(Clone, Copy, Debug)]
pub struct Accounts<'a> {
    names: &'a [String],
    form: Form,
    template: Option<&'a str>,
}

impl<'a> Accounts<'a> {
    /// One account; the secret is its bare password, where [`Accounts::written`] says nothing else.
    pub fn one(name: &'a String) -> Self {
        Self { names: std::slice::from_ref(name), form: Form::Password, template: None }
    }

    /// Two accounts. The secret has the user name beside the password, so that no client ever reads the name of one and the
    /// password of the other: a JSON document, where nothing else is said that has both.
    pub fn two(names: &'a [String; 2]) -> Self {
        Self { names, form: Form::Json, template: None }
    }

    /// With what the configuration says of the secret.
    #[must_use]
    pub fn written(mut self, written: &'a Written) -> Self {
        let can_be = |form: &Form| self.names.len() == 1 || *form != Form::Password;
        self.form = written.format.filter(can_be).unwrap_or(self.form);
        self.template = written.template.as_deref();
        self
    }

    /// Their names.
    pub fn names(&self) -> &'a [String] {
        self.names
    }

    /// The whole step `create`: a fresh password for the account whose turn it is, durable before it returns.
    ///
    /// # Errors
    /// Of the host; the current version is of a user that is none of the accounts.
    pub fn create(&self, run: &Run, password_length: u16) -> Result<Outcome, Error> {
        self.create_of(run, || password(password_length))
    }

    /// The same with a password that the plugin makes: where a server's rules ask for some kinds of characters.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub fn create_of(&self, run: &Run, make: impl FnOnce() -> Result<Secret, Error>) -> Result<Outcome, Error> {
        if run.pending()?.is_some() {
            return Ok(Outcome::Done);
        }
        let current = self.name_if_any(run, Version::Current)?;
        let name = self.next(current);
        let password = make()?;
        run.annotate(ANNOTATION, name)?;
        current.filter(|current| *current != name).map_or(Ok(()), |current| run.annotate(BEFORE, current))?;
        match self.form {
            Form::Password => run.set_pending(&password)?,
            Form::Json => run.set_pending(&credential(name, &password, run.current()?.as_ref())?)?,
            Form::ConnectionString => run.set_pending(&self.connection_string(run, name, &password)?)?,
        }
        Ok(Outcome::Done)
    }

    /// The one that clients use now with another password, and of two accounts the other one's name. All else stays as it is.
    fn connection_string(&self, run: &Run, name: &str, password: &Secret) -> Result<Secret, Error> {
        let missing = "there is no connection string yet in which the password could be replaced: import one first, or set `template` to what it is to look like";
        let Some(current) = run.current()? else {
            let template = self.template.ok_or_else(|| error(ErrorKind::Invalid, "version.missing", missing))?;
            return Self::first(template, name, password);
        };
        let own = match self.names {
            [_] => current,
            _ => current.with_part_text(CONNECTION_STRING, "user", name).map_err(|problem| self.of_form(problem))?,
        };
        own.with_part(CONNECTION_STRING, "password", password).map_err(|problem| self.of_form(problem))
    }

    /// The first one, by the template. The host reads it and writes name and password by the rules of its form, so that whatever they hold is right there.
    fn first(template: &str, name: &str, password: &Secret) -> Result<Secret, Error> {
        const PLACE: &str = "password";
        let of_template = |mut problem: Error| {
            problem.message = format!("{}; this is the `template` of the configuration", problem.message);
            problem
        };
        let composer = Composer::new("application/vnd.keywheel.connection-string");
        composer.text(&template.replace(PASSWORD, PLACE).replace(USER, "user"))?;
        let text = Composer::finish(composer)?;
        if text.public_part(CONNECTION_STRING, "password").map_err(of_template)? != PLACE {
            let message = "`template` has {password} where its form has no password";
            return Err(error(ErrorKind::Invalid, "version.template", message));
        }
        let own = if template.contains(USER) {
            text.with_part_text(CONNECTION_STRING, "user", name).map_err(of_template)?
        } else {
            text
        };
        own.with_part(CONNECTION_STRING, "password", password).map_err(of_template)
    }

    /// The account whose turn it is while clients use `current`.
    pub fn next(&self, current: Option<&str>) -> &'a str {
        match self.names {
            [first, second] if Some(first.as_str()) == current => second,
            [first, ..] => first,
            [] => "",
        }
    }

    /// The account whose turn it is, if the vault never had its password, which nobody can give back: of two, the one that was not imported.
    ///
    /// # Errors
    /// As [`Accounts::name_if_any`].
    pub fn stranger(&self, run: &Run) -> Result<Option<&'a str>, Error> {
        let Some(current) = self.name_if_any(run, Version::Current)? else { return Ok(None) };
        let next = self.next(Some(current));
        let before = run.annotation(Version::Current.as_str(), BEFORE)?;
        let known = [Some(current), before.as_deref(), self.name_if_any(run, Version::Pending)?];
        Ok((!known.contains(&Some(next))).then_some(next))
    }

    /// The account that a version is the password of. `None` if there is no such version.
    ///
    /// # Errors
    /// It is none of the accounts; the vault cannot be read.
    pub fn name_if_any(&self, run: &Run, version: Version) -> Result<Option<&'a str>, Error> {
        let Some(secret) = version.find(run)? else { return Ok(None) };
        if let [only] = self.names {
            return Ok(Some(only));
        }
        let name = match run.annotation(version.as_str(), ANNOTATION)? {
            Some(name) => name,
            None => match self.form.parts() {
                Some(parts) => secret.public_part(parts.format, parts.user).map_err(|problem| self.of_form(problem))?,
                None => return Ok(self.names.first().map(String::as_str)),
            },
        };
        let known = self.names.iter().find(|known| **known == name);
        let stranger = || format!("the {} version is of the user {name}, which is not configured", version.as_str());
        known.map(|known| Some(known.as_str())).ok_or_else(|| error(ErrorKind::Invalid, "version.user", stranger()))
    }

    /// The account that a version is the password of.
    ///
    /// # Errors
    /// There is no such version; it is none of the accounts; the vault cannot be read.
    pub fn name(&self, run: &Run, version: Version) -> Result<&'a str, Error> {
        let missing =
            || error(ErrorKind::NotFound, "version.missing", format!("there is no {} version", version.as_str()));
        self.name_if_any(run, version)?.ok_or_else(missing)
    }

    /// The password in a version.
    ///
    /// # Errors
    /// There is no such version, or it has no password where its form has one; the vault cannot be read.
    pub fn password(&self, run: &Run, version: Version) -> Result<Secret, Error> {
        self.password_in(run, version, version.get(run)?)
    }

    fn password_in(&self, run: &Run, version: Version, whole: Secret) -> Result<Secret, Error> {
        match self.part_of(&whole) {
            // From before the form was changed: it was a password alone.
            Err(problem) if problem.is_of_value() && is_old(run, version, &whole)? => Ok(whole),
            found => found.map(|part| part.unwrap_or(whole)),
        }
    }

    /// The password by the form; none where that has no parts.
    fn part_of(&self, whole: &Secret) -> Result<Option<Secret>, Error> {
        let Some(parts) = self.form.parts() else { return Ok(None) };
        self.check_user(whole)?;
        whole.part(parts.format, parts.password).map(Some).map_err(|problem| self.of_form(problem))
    }

    /// A string of another user than the one that is configured: clients would go on as that one, with a password that is not its own.
    fn check_user(&self, whole: &Secret) -> Result<(), Error> {
        let ([name], Form::ConnectionString) = (self.names, self.form) else { return Ok(()) };
        match whole.public_part(CONNECTION_STRING, "user") {
            Ok(user) if !user.is_empty() && user != *name => {
                let message = format!("the connection string is of the user {user}, and the configuration has {name}");
                Err(error(ErrorKind::Invalid, "version.user", message))
            }
            // It may leave the user out.
            Err(problem) if problem.kind != ErrorKind::NotFound => Err(self.of_form(problem)),
            _ => Ok(()),
        }
    }

    /// The same, if there is such a version. A previous one from before the form was changed is none: its consumers were waited for.
    ///
    /// # Errors
    /// It has no password where its form has one; the vault cannot be read.
    pub fn password_if_any(&self, run: &Run, version: Version) -> Result<Option<Secret>, Error> {
        let Some(whole) = version.find(run)? else { return Ok(None) };
        match self.part_of(&whole) {
            Err(problem) if version == Version::Previous && problem.is_of_value() => Ok(None),
            _ => self.password_in(run, version, whole).map(Some),
        }
    }

    /// Whether a password is the very one that clients use now, by an older version: to make the target refuse it would lock them out.
    ///
    /// # Errors
    /// As [`Accounts::password`]; the versions were compared too often.
    pub fn is_current(&self, run: &Run, password: &Secret) -> Result<bool, Error> {
        self.password_if_any(run, Version::Current)?.map_or(Ok(false), |current| password.matches(&current))
    }

    /// The account that `revoke` has to shut, where an account holds one password: none if a newer version has overwritten it, as the host proves.
    ///
    /// # Errors
    /// As [`Accounts::name`].
    pub fn to_revoke(&self, run: &Run) -> Result<Option<&'a str>, Error> {
        let name = self.name(run, Version::Subject)?;
        let newer = [self.name_if_any(run, Version::Current)?, self.name_if_any(run, Version::Pending)?];
        Ok((!newer.contains(&Some(name))).then_some(name))
    }

    /// What `rollback` has to do, where an account holds one password.
    ///
    /// # Errors
    /// As [`Accounts::name_if_any`].
    pub fn to_roll_back(&self, run: &Run) -> Result<Back<'a>, Error> {
        Ok(match (self.name_if_any(run, Version::Pending)?, self.name_if_any(run, Version::Current)?) {
            (None, _) => Back::Nothing,
            (Some(pending), Some(current)) if pending == current => Back::Restore,
            (Some(pending), _) => Back::Shut(pending),
        })
    }

    /// Says what a value of these accounts looks like: whoever has imported a bare password cannot know it.
    fn of_form(&self, mut problem: Error) -> Error {
        if problem.is_of_value() {
            problem.message = format!("{}; {}", problem.message, self.form());
        }
        problem
    }

    fn form(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(" or ");
        match self.form {
            Form::ConnectionString => format!(
                "the value is to be a connection string with the user {names} and a password, such as postgres://user:password@host/database"
            ),
            _ => format!("the value is to be a JSON document like {{\"username\": {names}, \"password\": \"…\"}}"),
        }
    }
}

/// Whether it is neither in use nor to be that.
fn is_old(run: &Run, version: Version, whole: &Secret) -> Result<bool, Error> {
    if matches!(version, Version::Current | Version::Pending) {
        return Ok(false);
    }
    let newer = [run.current()?, run.pending()?];
    Ok(newer.iter().flatten().all(|newer| newer.version() != whole.version()))
}

/// A fresh password of letters, digits, `-` and `_`: safe in every connection string, URL and shell.
///
/// # Errors
/// `invalid` for a length that leaves too little entropy.
pub fn password(length: u16) -> Result<Secret, Error> {
    let policy = PasswordPolicy::new(length);
    policy.alphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")?;
    generate_password(&policy)
}

/// The same as rules for passwords ask for it: of capital and small letters, digits, and `-` or `_`, at least one of each; and without the
/// name of any of these accounts, since one letter of each is left out.
///
/// # Errors
/// `invalid` for a length that leaves too little entropy.
pub fn password_without_names(length: u16, names: &[impl AsRef<str>]) -> Result<Secret, Error> {
    let policy = PasswordPolicy::new(length);
    let kinds = kinds_without_names(names);
    policy.alphabet(&kinds.concat())?;
    for kind in &kinds {
        policy.require(kind, 1)?;
    }
    generate_password(&policy)
}

fn kinds_without_names(names: &[impl AsRef<str>]) -> [String; 4] {
    let letters: Vec<char> =
        names.iter().filter_map(|name| name.as_ref().chars().find(char::is_ascii_alphanumeric)).collect();
    ["ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789", "-_"].map(|kind| {
        let is_other = |c: &char| !letters.iter().any(|own| own.eq_ignore_ascii_case(c));
        kind.chars().filter(is_other).collect()
    })
}

/// A credential as a JSON document. Whatever else `like` holds (host, database) stays as it is.
///
/// # Errors
/// `like` is no JSON object with a user name and a password.
pub fn credential(username: &str, password: &Secret, like: Option<&Secret>) -> Result<Secret, Error> {
    if let Some(like) = like {
        return like.with_part_text("json", "/username", username)?.with_part("json", "/password", password);
    }
    let composer = Composer::new("application/json");
    let name = serde_json::to_string(username).unwrap_or_default();
    composer.text(&format!(r#"{{"username":{name},"password":""#))?;
    composer.secret(password, "json")?;
    composer.text(r#""}"#)?;
    Composer::finish(composer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_accounts_take_turns_and_one_is_always_its_own_turn() {
        let names = ["app_a".to_owned(), "app_b".to_owned()];
        let two = Accounts::two(&names);
        assert_eq!(two.next(Some("app_a")), "app_b");
        assert_eq!(two.next(Some("app_b")), "app_a");
        assert_eq!(two.next(None), "app_a");
        assert_eq!(Accounts::one(&names[0]).next(Some("app_a")), "app_a");
    }

    #[test]
    fn a_password_cannot_hold_the_name_of_its_account() {
        let has = |name: &str, c: char| kinds_without_names(&[name]).concat().contains(c);
        assert!(!has("_app", 'a') && !has("_app", 'A') && has("_app", 'p') && has("_app", '_'));
        assert!(!has("7up", '7') && has("7up", 'u') && has("äöü", 'a'));
        let both = kinds_without_names(&["app", "shop"]).concat();
        assert!(!both.contains(['a', 'A', 's', 'S']) && both.contains('p'));
    }

    #[test]
    fn the_form_of_a_value_names_the_accounts() {
        let names = ["app_a".to_owned(), "app_b".to_owned()];
        let form = Accounts::two(&names).form();
        assert!(form.ends_with(r#"{"username": "app_a" or "app_b", "password": "…"}"#), "{form}");
        let written = Written { format: Some(Form::ConnectionString), ..Written::default() };
        let form = Accounts::two(&names).written(&written).form();
        assert!(form.contains(r#"a connection string with the user "app_a" or "app_b""#), "{form}");
    }
    #[test]
    fn a_template_has_the_password_once_and_the_user_where_two_take_turns() {
        let problem = |format: Option<Form>, template: &str, accounts: usize| {
            let written = Written { format, template: Some(template.to_owned()) };
            written.problems(accounts).into_iter().map(|(place, what)| format!("{place} {what}")).next()
        };
        let string = Some(Form::ConnectionString);
        assert_eq!(Written::default().problems(1), []);
        assert_eq!(problem(string, "Server=db;User Id={user};Password={password}", 2), None);
        assert_eq!(problem(string, "redis://:{password}@cache", 1), None);
        for (format, template, accounts, says) in [
            (None, "Server=db;Password={password}", 1, "is for format"),
            (Some(Form::Json), "Server=db;Password={password}", 1, "is for format"),
            (string, "Server=db", 1, "needs {password} once"),
            (string, "Password={password};Pwd={password}", 1, "needs {password} once"),
            (string, "redis://:{password}@cache", 2, "needs {user}"),
            (string, "User Id={user};Uid={user};Password={password}", 1, "{user} more than once"),
        ] {
            let said = problem(format, template, accounts).unwrap();
            assert!(said.starts_with("/template ") && said.contains(says), "{template}: {said}");
        }
    }
}
