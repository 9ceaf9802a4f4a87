use keywheel_sdk::Written;
use keywheel_sdk::nodes::Node;
use keywheel_sdk::sql::Server;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) server: Server,
    /// Servers that copy the roles from that one, and that clients log in to, too.
    #[serde(default)]
    pub(crate) replicas: Vec<Node>,
    database: Option<String>,
    /// The role that alters the others; its password is the input `admin`.
    pub(crate) admin: String,
    #[serde(flatten)]
    pub(crate) mode: Mode,
    #[serde(flatten)]
    pub(crate) written: Written,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub(crate) enum Mode {
    Role { role: String },
    Alternating { roles: [String; 2] },
}

impl Config {
    pub(crate) fn database(&self) -> &str {
        self.database.as_deref().unwrap_or("postgres")
    }

    pub(crate) fn is_pair(&self) -> bool {
        matches!(self.mode, Mode::Alternating { .. })
    }

    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let problem = |place: &str, message: &str| vec![(place.to_owned(), message.to_owned())];
        match self.accounts().names() {
            [first, second] if first == second => problem("/roles/1", "must be another role: each keeps one password"),
            names if names.contains(&self.admin) => problem("/admin", "must be another role than what is rotated"),
            names => self.written.problems(names.len()).into_iter().chain(self.twice()).collect(),
        }
    }

    /// Replicas that stand there a second time, or are the primary.
    fn twice(&self) -> impl Iterator<Item = (String, String)> {
        self.replicas.iter().enumerate().filter_map(|(at, node)| {
            let message = if node.is(&self.server.host, self.server.port) {
                "is the primary: only the servers that copy it belong here"
            } else if self.replicas[..at].iter().any(|before| before.is(&node.host, node.port)) {
                "stands here twice"
            } else {
                return None;
            };
            Some((format!("/replicas/{at}"), message.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_each_mode_is_taken_and_one_role_twice_or_the_administrator_itself_is_not() {
        let of =
            |rest: &str| serde_json::from_str::<Config>(&format!(r#"{{"host":"db","port":5432,{rest}}}"#)).unwrap();
        let role = of(r#""mode":"role","admin":"keywheel","role":"app""#);
        assert!(!role.server.is_plaintext() && role.problems().is_empty() && role.database() == "postgres");
        let pair = of(r#""mode":"alternating","admin":"keywheel","roles":["a","b"],"transport":"plaintext""#);
        assert!(pair.server.is_plaintext() && pair.problems().is_empty());
        assert_eq!(of(r#""mode":"alternating","admin":"keywheel","roles":["a","a"]"#).problems()[0].0, "/roles/1");
        assert_eq!(of(r#""mode":"role","admin":"app","role":"app""#).problems()[0].0, "/admin");
    }

    #[test]
    fn a_replica_is_another_server_than_the_primary_and_stands_there_once() {
        let of = |replicas: &str| {
            let config = format!(
                r#"{{"host":"db","port":5432,"mode":"role","admin":"keywheel","role":"app","replicas":[{replicas}]}}"#
            );
            let problems = serde_json::from_str::<Config>(&config).unwrap().problems();
            problems.into_iter().map(|(place, _)| place).collect::<Vec<_>>()
        };
        let (one, two) = (r#"{"host":"db2","port":5432}"#, r#"{"host":"db","port":5433}"#);
        assert_eq!(of(&format!("{one},{two}")), [""; 0]);
        assert_eq!(of(&format!(r#"{one},{{"host":"DB.","port":5432}}"#)), ["/replicas/1"]);
        assert_eq!(of(&format!("{one},{two},{one}")), ["/replicas/2"]);
    }
}
