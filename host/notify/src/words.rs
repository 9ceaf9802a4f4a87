use serde::Serialize;

/// How much it matters, by the words that on-call services have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is wrong.
    #[default]
    Info,
    /// Somebody should look at it some time.
    Warning,
    /// Something is not done that has to be.
    Error,
    /// Harm is done, or near.
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What a notice does to what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Nature {
    /// Something is the matter from now on.
    Raised,
    /// It is not any more.
    Resolved,
    /// Something has happened: there is nothing to resolve.
    #[default]
    Happened,
}

/// A notice as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Words {
    /// What it does to what was told before.
    pub nature: Nature,
    /// In one line.
    pub title: String,
    /// What there is to say.
    pub text: String,
    /// Single facts, each under its name.
    pub facts: Vec<(String, String)>,
    /// Where more stands.
    pub link: Option<String>,
}

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sender {
    /// As people know it: `keywheel@HOST`.
    pub name: String,
    /// What no other one has: the id of its state. It makes numbers and keys of notices distinct between hosts.
    pub store: String,
}

impl Sender {
    /// The machine's name alone.
    pub(crate) fn host(&self) -> &str {
        self.name.rsplit_once('@').map_or("localhost", |(_, host)| host)
    }
}

/// A moment in milliseconds of Unix time, as RFC 3339 has it.
pub(crate) fn time(at: u64) -> String {
    moment(at).to_string()
}

/// The same as PagerDuty's documents have it.
pub(crate) fn time_of_pagerduty(at: u64) -> String {
    moment(at).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

fn moment(at: u64) -> jiff::Timestamp {
    let at = i64::try_from(at).unwrap_or_default();
    jiff::Timestamp::from_millisecond(at).unwrap_or_default()
}
