//! Targets of several servers, each of which holds the credential.

use std::fmt;

use serde::Deserialize;

use crate::error::{ErrorExt, error};
use crate::resp;
use crate::{Error, ErrorKind, Plan, Verdict};

/// One server, as a configuration lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Node {
    /// Whether both are one server, as far as their spelling tells.
    pub fn is(&self, host: &str, port: u16) -> bool {
        let bare = |host: &str| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.port == port && bare(&self.host) == bare(host)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Makes the same change on every node, one after the other.
///
/// # Errors
/// The first that fails, with its node; it counts as an effect when an earlier node has been changed.
pub fn change_each(nodes: &[Node], change: impl Fn(&Node) -> Result<(), Error>) -> Result<(), Error> {
    for (changed, node) in nodes.iter().enumerate() {
        change(node).map_err(|problem| {
            let problem = problem.at(&node.to_string());
            if changed > 0 { problem.after_an_effect() } else { problem }
        })?;
    }
    Ok(())
}

/// Looks at each node for `plan`. Where the server does not let the administrator look, the plan says so under this code and with this hint.
///
/// # Errors
/// What else keeps a node from being looked at, with its name.
pub fn look_each(
    plan: &mut Plan,
    nodes: &[Node],
    (code, hint): (&'static str, &str),
    look: impl Fn(&mut Plan, &Node) -> Result<(), Error>,
) -> Result<(), Error> {
    for node in nodes {
        match look(plan, node) {
            // What the host denies is another matter.
            Err(problem) if problem.kind == ErrorKind::Denied && problem.code == resp::REFUSED => {
                plan.problem(code, format!("{node}: {}", problem.message), hint);
            }
            looked => looked.map_err(|problem| problem.at(&node.to_string()))?,
        }
    }
    Ok(())
}

/// A node that copies the account from another one does not take the credential that the other one takes: it has not replayed the change yet, and
/// is asked again.
pub fn behind(node: &Node, why: &str) -> Error {
    let message = format!("{node} does not take it, and the server that it copies does: {why}");
    error(ErrorKind::Unavailable, "nodes.behind", message)
}

/// Asks every node once. Nodes that agree give their answer; where they do not, nothing is known.
///
/// # Errors
/// The first node's that could not be asked, with its name; `nodes.differ` where one accepts and another refuses, which asking again does not change.
pub fn ask_each(nodes: &[Node], ask: impl Fn(&Node) -> Result<Verdict, Error>) -> Result<Verdict, Error> {
    let mut first: Option<(&Node, Verdict)> = None;
    for node in nodes {
        let verdict = ask(node).map_err(|problem| problem.at(&node.to_string()))?;
        match &first {
            None => first = Some((node, verdict)),
            Some((_, known)) if std::mem::discriminant(known) == std::mem::discriminant(&verdict) => {}
            Some((other, known)) => {
                let differ = format!("{other} {}, but {node} {}", word(known), word(&verdict));
                return match (known, &verdict) {
                    (Verdict::Accepted, Verdict::Rejected) | (Verdict::Rejected, Verdict::Accepted) => {
                        Err(error(ErrorKind::Other, "nodes.differ", differ))
                    }
                    _ => Ok(Verdict::Unknown(differ)),
                };
            }
        }
    }
    Ok(first.map_or_else(|| Verdict::Unknown("no node is configured".to_owned()), |(_, verdict)| verdict))
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted => "accepts".to_owned(),
        Verdict::Rejected => "refuses".to_owned(),
        Verdict::Limited(text) | Verdict::Account(text) | Verdict::Unknown(text) => format!("says: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Effect;

    fn nodes() -> [Node; 2] {
        ["a", "b"].map(|host| Node { host: host.to_owned(), port: 1 })
    }

    fn together(verdicts: &[Verdict; 2]) -> Verdict {
        ask_each(&nodes(), |node| Ok(verdicts[usize::from(node.host == "b")].clone())).unwrap()
    }

    #[test]
    fn nodes_that_agree_give_their_answer_and_others_none() {
        assert!(matches!(together(&[Verdict::Accepted, Verdict::Accepted]), Verdict::Accepted));
        assert!(matches!(together(&[Verdict::Rejected, Verdict::Rejected]), Verdict::Rejected));
        let differ =
            ask_each(&nodes(), |node| Ok(if node.host == "b" { Verdict::Rejected } else { Verdict::Accepted }));
        assert_eq!(differ.unwrap_err().code, "nodes.differ");
        assert!(matches!(together(&[Verdict::Rejected, Verdict::Unknown("down".to_owned())]), Verdict::Unknown(_)));
        assert!(matches!(ask_each(&[], |_| Ok(Verdict::Rejected)).unwrap(), Verdict::Unknown(_)));
    }

    #[test]
    fn a_server_is_the_same_however_its_name_is_spelled() {
        let [a, _] = nodes();
        assert!(a.is("a", 1) && a.is("A.", 1));
        assert!(!a.is("a", 2) && !a.is("b", 1));
    }

    #[test]
    fn a_node_that_cannot_be_asked_is_named() {
        let ask = |node: &Node| match node.host.as_str() {
            "a" => Ok(Verdict::Accepted),
            _ => Err(error(ErrorKind::Unavailable, "x", "down")),
        };
        assert_eq!(ask_each(&nodes(), ask).unwrap_err().message, "b:1: down");
    }

    #[test]
    fn a_failure_counts_as_an_effect_once_an_earlier_node_was_changed() {
        let failing_at = |bad: &'static str| {
            let calls = Cell::new(0);
            let result = change_each(&nodes(), |node| {
                calls.set(calls.get() + 1);
                if node.host == bad { Err(error(ErrorKind::Unavailable, "x", "down")) } else { Ok(()) }
            });
            (calls.get(), result.unwrap_err().effect)
        };
        assert_eq!(failing_at("a"), (1, Effect::None));
        assert_eq!(failing_at("b"), (2, Effect::Applied));
    }
}
