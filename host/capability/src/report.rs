//! What the host itself saw in one call of a plugin. It counts, not what the plugin says (rules H7 and H13).

use std::collections::BTreeSet;

use keywheel_manifest::{SecretRole, ShapeEffect, canonical_address};
use keywheel_model::{Effect, Role, StepError, Verdict};
use serde::{Deserialize, Serialize};

use crate::error::Stop;
use crate::mask::Reflected;

/// What the target said of a credential that was sent in a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginResult {
    /// It opened the target.
    Accepted,
    /// It did not.
    Rejected,
    /// It is the right one, and the account may not go further for want of a right.
    Limited,
    /// The account is locked, disabled or expired: proves nothing about the credential.
    Account,
    /// It was sent, and no answer tells.
    Unknown,
    /// No connection came about: the target has seen nothing of it.
    Unsent,
}

impl LoginResult {
    fn bears_out(self, claimed: &Verdict) -> bool {
        matches!(
            (claimed, self),
            (Verdict::Accepted | Verdict::Limited(_), Self::Accepted)
                | (Verdict::Limited(_), Self::Limited)
                | (Verdict::Rejected, Self::Rejected)
                | (Verdict::Account(_), Self::Account | Self::Rejected)
        )
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Limited => "taken, and refused for want of a right",
            Self::Account => "refused for the account's sake",
            Self::Unknown => "not answered",
            Self::Unsent => "not sent",
        }
    }
}

/// A fresh login that the host saw, under the user name that the credential is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSeen {
    /// What the credential is to the run.
    pub roles: Vec<SecretRole>,
    /// The id of its handle.
    pub secret: String,
    /// `host:port`.
    pub destination: String,
    /// What the target said.
    pub result: LoginResult,
}

/// One line that a plugin logged, cleaned and masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The message.
    pub message: String,
    /// Structured fields.
    pub fields: Vec<(String, String)>,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the plugin's author.
    Trace,
    /// For diagnosis.
    Debug,
    /// What happened.
    Info,
    /// Went wrong and was mended.
    Warn,
    /// Somebody must act.
    Error,
}

/// Everything that the host saw in one call.
#[derive(Debug, Default)]
pub struct StepReport {
    pub(crate) settled: Option<Effect>,
    pub(crate) in_doubt: u32,
    pub(crate) open_transactions: u32,
    /// The strongest thing that was sent, as its shape declares it.
    pub strongest: Option<ShapeEffect>,
    /// Fresh logins, in order.
    pub logins: Vec<LoginSeen>,
    /// The code of the last connection or login that did not come about.
    pub unopened: Option<String>,
    /// What was refused: code and message.
    pub denied: Vec<StepError>,
    /// Why the host ended the call, if it did.
    pub stopped: Option<Stop>,
    /// Whether a live secret came back (rule H4): the run parks, and nothing is retried by itself.
    pub reflection: bool,
    /// What it was.
    pub reflected: Option<Reflected>,
    /// Lines that the plugin logged.
    pub log: Vec<LogLine>,
    /// Lines beyond the limit, which were dropped.
    pub log_dropped: u32,
    /// Calls of host functions.
    pub host_calls: u32,
}

impl StepReport {
    /// What became of the target, as far as the host saw: the worst of all calls. A call whose end it did not see counts as
    /// `maybe`.
    pub fn effect(&self) -> Effect {
        let doubt = if self.in_doubt > 0 {
            Effect::Maybe
        } else {
            Effect::None
        };
        self.settled.unwrap_or(Effect::None).max(doubt)
    }

    /// The worse of what the plugin claims and what the host saw (rule H13).
    pub fn worse_of(&self, claimed: Effect) -> Effect {
        self.effect().max(claimed)
    }

    /// Whether a transaction was left open: a failure of the step, whatever the plugin says (rule H13).
    pub fn left_transaction_open(&self) -> bool {
        self.open_transactions > 0
    }

    /// The result of the last fresh login with the subject; `None` if the host saw none.
    pub fn subject_login(&self) -> Option<LoginResult> {
        self.subject_logins().next_back().map(|login| login.result)
    }

    /// Whether a server may have counted a failed login with the subject (rule P14): it has seen one, and did not accept it.
    pub fn subject_may_have_failed(&self) -> bool {
        self.subject_logins()
            .any(|login| !matches!(login.result, LoginResult::Unsent | LoginResult::Accepted))
    }

    fn subject_logins(&self) -> impl DoubleEndedIterator<Item = &LoginSeen> {
        let is_subject = |login: &&LoginSeen| login.roles.contains(&SecretRole::Run(Role::Subject));
        self.logins.iter().filter(is_subject)
    }

    /// A verdict as far as the host can vouch for it (rule H7): `accepted` and `rejected` count only if every fresh login with the
    /// subject, as its own user, said the same in this call. What the host saw nothing of is unknown.
    pub fn vouched(&self, claimed: Verdict) -> Verdict {
        if matches!(claimed, Verdict::Unknown(_)) {
            return claimed;
        }
        if self.subject_login().is_none() {
            return Verdict::Unknown(
                "the host saw no login of this credential's user with it in this call".to_owned(),
            );
        }
        let mut logins = self.subject_logins();
        let Some(other) = logins.find(|login| !login.result.bears_out(&claimed)) else {
            return claimed;
        };
        Verdict::Unknown(format!(
            "the plugin's answer is not what the host saw: the login at {} was {}",
            other.destination,
            other.result.in_words()
        ))
    }

    /// The same, of a credential that several servers hold: one that was left out may say something else. `nodes` as
    /// [`Manifest::nodes`](keywheel_manifest::Manifest::nodes) gives them, and `replicas` as
    /// [`Manifest::replicas`](keywheel_manifest::Manifest::replicas): what those copy later they need not have been asked for a refusal.
    pub fn vouched_on(
        &self,
        nodes: &BTreeSet<String>,
        replicas: &BTreeSet<String>,
        claimed: Verdict,
    ) -> Verdict {
        let vouched = self.vouched(claimed);
        if matches!(vouched, Verdict::Unknown(_)) {
            return vouched;
        }
        let seen: BTreeSet<String> = self
            .subject_logins()
            .map(|login| canonical_address(&login.destination))
            .collect();
        let copies = replicas.iter().filter(|_| vouched == Verdict::Accepted);
        match nodes.iter().chain(copies).find(|node| !seen.contains(*node)) {
            None => vouched,
            Some(left_out) => Verdict::Unknown(format!(
                "the plugin's answer leaves a server out: the host saw no login at {left_out}"
            )),
        }
    }

    pub(crate) fn settle(&mut self, effect: Effect) {
        self.settled = Some(self.settled.unwrap_or(Effect::None).max(effect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(role: Role, result: LoginResult) -> LoginSeen {
        LoginSeen {
            roles: vec![SecretRole::Run(role)],
            secret: "ver-1".to_owned(),
            destination: "db:5432".to_owned(),
            result,
        }
    }

    fn report(logins: Vec<LoginSeen>) -> StepReport {
        StepReport {
            logins,
            ..StepReport::default()
        }
    }

    #[test]
    fn a_verdict_without_a_login_of_the_subject_is_unknown() {
        for claimed in [
            Verdict::Accepted,
            Verdict::Rejected,
            Verdict::Limited(String::new()),
            Verdict::Account(String::new()),
        ] {
            assert!(matches!(
                report(Vec::new()).vouched(claimed.clone()),
                Verdict::Unknown(_)
            ));
            let other = report(vec![login(Role::Current, LoginResult::Accepted)]);
            assert!(matches!(other.vouched(claimed), Verdict::Unknown(_)));
        }
    }

    #[test]
    fn a_verdict_that_contradicts_the_login_is_unknown() {
        let rejected = report(vec![login(Role::Subject, LoginResult::Rejected)]);
        assert!(matches!(rejected.vouched(Verdict::Accepted), Verdict::Unknown(_)));
        assert_eq!(rejected.vouched(Verdict::Rejected), Verdict::Rejected);
        let accepted = report(vec![login(Role::Subject, LoginResult::Accepted)]);
        assert_eq!(accepted.vouched(Verdict::Accepted), Verdict::Accepted);
        assert!(matches!(accepted.vouched(Verdict::Rejected), Verdict::Unknown(_)));
        let unanswered = report(vec![login(Role::Subject, LoginResult::Unknown)]);
        assert!(matches!(
            unanswered.vouched(Verdict::Rejected),
            Verdict::Unknown(_)
        ));
        let limited = report(vec![login(Role::Subject, LoginResult::Limited)]);
        let claimed = Verdict::Limited("no CONNECT".to_owned());
        assert_eq!(limited.vouched(claimed.clone()), claimed);
        for claimed in [Verdict::Accepted, Verdict::Rejected] {
            assert!(matches!(limited.vouched(claimed), Verdict::Unknown(_)));
        }
    }

    #[test]
    fn a_verdict_that_leaves_a_server_out_is_unknown() {
        let nodes = |all: &[&str]| all.iter().map(|node| (*node).to_owned()).collect::<BTreeSet<_>>();
        let one = report(vec![LoginSeen {
            destination: "DB.:5432".to_owned(),
            ..login(Role::Subject, LoginResult::Accepted)
        }]);
        for of in [&[][..], &["db:5432"]] {
            let vouched = one.vouched_on(&nodes(of), &nodes(&[]), Verdict::Accepted);
            assert_eq!(vouched, Verdict::Accepted);
        }
        for of in [&["db:5432", "db2:5432"][..], &["db:5433"]] {
            assert!(matches!(
                one.vouched_on(&nodes(of), &nodes(&[]), Verdict::Accepted),
                Verdict::Unknown(_)
            ));
        }
        assert!(matches!(
            one.vouched_on(&nodes(&["db:5432"]), &nodes(&[]), Verdict::Rejected),
            Verdict::Unknown(_)
        ));
    }

    #[test]
    fn a_replica_that_was_left_out_counts_against_a_yes_and_not_against_a_no() {
        let set = |node: &str| BTreeSet::from([node.to_owned()]);
        let (primary, replica) = (set("db:5432"), set("db2:5432"));
        let mut seen = report(vec![login(Role::Subject, LoginResult::Rejected)]);
        assert_eq!(
            seen.vouched_on(&primary, &replica, Verdict::Rejected),
            Verdict::Rejected
        );
        seen.logins[0].result = LoginResult::Accepted;
        let left_out = seen.vouched_on(&primary, &replica, Verdict::Accepted);
        assert!(matches!(left_out, Verdict::Unknown(_)), "{left_out:?}");
        seen.logins.push(LoginSeen {
            destination: "DB2:5432".to_owned(),
            ..login(Role::Subject, LoginResult::Accepted)
        });
        assert_eq!(
            seen.vouched_on(&primary, &replica, Verdict::Accepted),
            Verdict::Accepted
        );
        seen.logins[1].result = LoginResult::Rejected;
        let refused = seen.vouched_on(&primary, &replica, Verdict::Accepted);
        assert!(matches!(refused, Verdict::Unknown(_)), "{refused:?}");
    }

    #[test]
    fn a_login_that_was_accepted_or_never_sent_has_cost_nothing() {
        let cost = |results: &[LoginResult]| {
            let logins = results
                .iter()
                .map(|result| login(Role::Subject, *result))
                .collect();
            report(logins).subject_may_have_failed()
        };
        assert!(!cost(&[]));
        assert!(!cost(&[LoginResult::Accepted, LoginResult::Unsent]));
        for failed in [LoginResult::Rejected, LoginResult::Account, LoginResult::Unknown] {
            assert!(cost(&[LoginResult::Accepted, failed]), "{failed:?}");
        }
    }

    #[test]
    fn the_effect_is_the_worse_of_claimed_and_seen() {
        let mut report = StepReport::default();
        assert_eq!(report.worse_of(Effect::None), Effect::None);
        report.settle(Effect::Applied);
        report.settle(Effect::None);
        assert_eq!(report.worse_of(Effect::None), Effect::Applied);
        report.in_doubt = 1;
        assert_eq!(report.worse_of(Effect::Applied), Effect::Maybe);
    }
}
