//! What a password has to be, and what a login with one comes to.

use std::time::{Duration, Instant};

use crate::books::{Books, Password};
use crate::tokens::Problem;
use crate::value::same;

/// The rules of the operating system, as a test sets them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Fewest characters.
    pub length: usize,
    /// Whether three of the four kinds of characters are asked for, and no name of the account inside.
    pub complexity: bool,
    /// How many passwords before the present one are refused.
    pub history: usize,
    /// How many wrong passwords lock a login; none: no number does.
    pub lockout: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            length: 8,
            complexity: true,
            history: 0,
            lockout: None,
        }
    }
}

const MOST_CHARACTERS: usize = 128;

impl Policy {
    /// Whether a password may be the new one. `contained`: of a user of a database, whose errors have numbers of their own.
    pub(crate) fn admits(
        &self,
        name: &str,
        new: &str,
        old: Option<&Password>,
        contained: bool,
    ) -> Result<(), Problem> {
        let refuse = |windows, own, why: &str| {
            let number = if contained { own } else { windows };
            let whose = if contained {
                "SQL Server password"
            } else {
                "Windows"
            };
            Err(Problem::new(
                number,
                format!(
                    "Password validation failed. The password does not meet {whose} policy requirements because it is {why}."
                ),
            ))
        };
        if new.chars().count() < self.length {
            return refuse(15116, 33062, "too short");
        }
        if new.chars().count() > MOST_CHARACTERS {
            return refuse(15117, 33063, "too long");
        }
        let kinds: [fn(char) -> bool; 4] = [
            char::is_uppercase,
            char::is_lowercase,
            |c| c.is_ascii_digit(),
            |c| !c.is_alphanumeric(),
        ];
        let count = kinds.iter().filter(|kind| new.chars().any(kind)).count();
        let has_name = name.chars().count() > 2 && new.to_lowercase().contains(&name.to_lowercase());
        if self.complexity && (count < 3 || has_name) {
            return refuse(15118, 33064, "not complex enough");
        }
        let used = old.into_iter().flat_map(|old| {
            old.history
                .iter()
                .rev()
                .take(self.history.saturating_sub(1))
                .chain([&old.value])
        });
        if self.history > 0 && used.into_iter().any(|before| before == new) {
            return Err(Problem::new(
                15115,
                "Password validation failed. The password cannot be used at this time.",
            ));
        }
        Ok(())
    }
}

impl Password {
    /// Takes a new one. `keeps`: what was there goes into the history; `cache`: for how long a cache goes on with it.
    pub(crate) fn set(&mut self, new: &str, keeps: bool, cache: Option<Duration>) {
        let old = std::mem::replace(&mut self.value, new.to_owned());
        self.cached = cache
            .filter(|_| old != new)
            .map(|delay| (old.clone(), Instant::now() + delay));
        if keeps {
            self.history.push(old);
        } else {
            self.history.clear();
        }
    }

    /// `through_cache`: where authentications are cached, the cache decides as long as it knows the account.
    fn is(&self, given: &str, through_cache: bool) -> bool {
        match &self.cached {
            Some((cached, until)) if through_cache && Instant::now() < *until => cached == given,
            _ => self.value == given,
        }
    }
}

/// Who logged in.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    /// Of a user of that database; else a login.
    pub(crate) contained_in: Option<String>,
}

/// Who it is, and in which database; or the errors that a client is sent, of which the last one has the state for the log.
pub(crate) fn authenticate(
    books: &mut Books,
    policy: &Policy,
    cached: bool,
    (name, password, asked): (&str, &str, &str),
) -> Result<(Identity, String), Vec<Problem>> {
    let failed = |state| Problem::new(18456, format!("Login failed for user '{name}'.")).with_state(state);
    let cannot_open = |database: &str| {
        let message =
            format!("Cannot open database \"{database}\" requested by the login. The login failed.");
        vec![Problem::new(4060, message), failed(38)]
    };
    // Of a contained database its own users come first, and where there is one of the name no login of that name is asked.
    if let Some(database) = books.database(asked)
        && let Some(own) = database.user(name).filter(|user| user.password.is_some())
    {
        let good = own.password.as_ref().is_some_and(|own| own.is(password, cached));
        let identity = Identity {
            name: own.name.clone(),
            contained_in: Some(database.name.clone()),
        };
        return if good {
            Ok((identity, database.name.clone()))
        } else {
            Err(vec![failed(8)])
        };
    }
    let through_cache = cached && !asked.is_empty() && !same(asked, "master");
    let Some(login) = books.login_mut(name) else {
        return Err(vec![failed(5)]);
    };
    let said = |number, why: &str| {
        vec![Problem::new(
            number,
            format!("Login failed for user '{name}'.{why}"),
        )]
    };
    if login.locked {
        return Err(said(
            18486,
            " The account is currently locked out. The system administrator can unlock it.",
        ));
    }
    if !login.password.is(password, through_cache) {
        login.bad += 1;
        login.locked = login.check_policy && policy.lockout.is_some_and(|most| login.bad >= most);
        return Err(vec![failed(if login.disabled { 7 } else { 8 })]);
    }
    login.bad = 0;
    if login.disabled {
        return Err(said(18470, " Reason: The account is disabled."));
    }
    if login.must_change {
        return Err(said(
            18488,
            "  Reason: The password of the account must be changed.",
        ));
    }
    if login.expired {
        return Err(said(18487, "  Reason: The password of the account has expired."));
    }
    let (name, default) = (login.name.clone(), login.default_database.clone());
    let wanted = if asked.is_empty() {
        default
    } else {
        asked.to_owned()
    };
    let identity = Identity {
        name,
        contained_in: None,
    };
    match books.database(&wanted) {
        Some(database) if books.may_enter(&identity, database) => Ok((identity, database.name.clone())),
        _ => Err(cannot_open(&wanted)),
    }
}
