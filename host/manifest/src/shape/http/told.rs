use std::str::FromStr;

use crate::reader::{Fields, Problems};

/// What an answer says of the credential in a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It is good.
    Accepted,
    /// It is not.
    Rejected,
    /// It is good, and lacks a right.
    Limited,
    /// The account is locked or shut: nothing of the credential.
    Account,
}

impl FromStr for Meaning {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "accepted" => Self::Accepted,
            "rejected" => Self::Rejected,
            "limited" => Self::Limited,
            "account" => Self::Account,
            _ => return Err("expected `accepted`, `rejected`, `limited` or `account`"),
        })
    }
}

/// An answer whose own words say more than its status: `{ status, at, is, means }` in `told`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its status.
    pub status: u16,
    /// Where in it a text is looked at: a pointer, or `xml:` and a path, as of a capture.
    pub at: String,
    /// The text that stands there.
    pub is: String,
    /// What it says.
    pub means: Meaning,
}

pub(super) fn read_told(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Told> {
    let path = fields.path("told");
    let mut told = Vec::new();
    for (index, value) in fields.list("told", problems).iter().enumerate() {
        let Some(mut one) = Fields::of(value, format!("{path}[{index}]"), problems) else {
            continue;
        };
        let status = one
            .required("status", problems)
            .and_then(serde_json::Value::as_u64);
        let status = status.and_then(|status| u16::try_from(status).ok());
        let status = status.filter(|status| (200..600).contains(status));
        if status.is_none() {
            problems.add(one.path("status"), "expected a status of 200 to 599");
        }
        let at = one.required_text("at", problems);
        if at.is_some_and(|at| !(at.starts_with('/') || at.starts_with("xml:/")) || at.contains('*')) {
            problems.add(
                one.path("at"),
                "expected a pointer, or `xml:` and a path, without `*`",
            );
        }
        let is = one.required_text("is", problems);
        let means = one.required_parsed("means", problems);
        one.finish(problems);
        if let (Some(status), Some(at), Some(is), Some(means)) = (status, at, is, means) {
            let (at, is) = (at.to_owned(), is.to_owned());
            told.push(Told {
                status,
                at,
                is,
                means,
            });
        }
    }
    told
}
