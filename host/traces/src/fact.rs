//! What a span may say, each under its name of OpenTelemetry's conventions, or under one of this host's own.

use keywheel_model::{Effect, PluginName, RotationName, RunId, StepName, Trigger};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// One thing that a span says. The whole list: what is not here is in no span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Of which rotation.
    Rotation(RotationName),
    /// In which run.
    Run(RunId),
    /// By which plugin.
    Plugin(PluginName),
    /// Why the run was started.
    Trigger(Trigger),
    /// How it ended: a word.
    Result(&'static str),
    /// Which step.
    Step(StepName),
    /// Which try of it, from 0.
    Attempt(u32),
    /// What kind of call of a target: `login`, `sql`, `frame`, `http`.
    Call(&'static str),
    /// The shape in the plugin's manifest that the call has.
    Shape(String),
    /// What became of the call on the target.
    Effect(Effect),
    /// The host that was called.
    Server(String),
    /// And its port.
    Port(u16),
    /// The code of what went wrong. A span that has it has failed.
    Code(String),
}

impl Fact {
    pub(crate) fn attribute(self) -> KeyValue {
        match self {
            Self::Rotation(name) => text("keywheel.rotation.name", name.as_str()),
            Self::Run(run) => text("keywheel.run.id", run.as_str()),
            Self::Plugin(name) => text("keywheel.plugin.name", name.as_str()),
            Self::Trigger(trigger) => text("keywheel.rotation.trigger", trigger.as_str()),
            Self::Result(word) => text("keywheel.rotation.result", word),
            Self::Step(step) => text("keywheel.rotation.step", step.as_str()),
            Self::Attempt(attempt) => number("keywheel.step.attempt", attempt.into()),
            Self::Call(kind) => text("keywheel.call.kind", kind),
            Self::Shape(shape) => text("keywheel.call.shape", &shape),
            Self::Effect(effect) => text("keywheel.call.effect", effect_word(effect)),
            Self::Server(host) => text("server.address", &host),
            Self::Port(port) => number("server.port", port.into()),
            Self::Code(code) => text("error.type", &code),
        }
    }
}

/// Who tells.
pub(crate) fn resource() -> Vec<KeyValue> {
    vec![
        text("service.name", "keywheel"),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ]
}

/// Longer ones are cut: a code may be a plugin's.
const TEXT_BYTES: usize = 256;

fn text(key: &'static str, value: &str) -> KeyValue {
    let mut end = value.len().min(TEXT_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    pair(key, Value::StringValue(value[..end].to_owned()))
}

fn number(key: &'static str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn pair(key: &'static str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "none",
        Effect::Applied => "applied",
        Effect::Maybe => "maybe",
    }
}

#[cfg(test)]
mod tests {
    use keywheel_model::Timestamp;

    use super::*;

    /// One of each. The match above keeps a new one from being forgotten here: its number is the length of this list.
    fn all() -> Vec<Fact> {
        vec![
            Fact::Rotation("app-db".parse().unwrap()),
            Fact::Run(RunId::fresh(Timestamp::from_unix_ms(1))),
            Fact::Plugin("postgres".parse().unwrap()),
            Fact::Trigger(Trigger::Schedule),
            Fact::Result("succeeded"),
            Fact::Step(StepName::Apply),
            Fact::Attempt(1),
            Fact::Call("sql"),
            Fact::Shape("alter".to_owned()),
            Fact::Effect(Effect::Maybe),
            Fact::Server("db.internal".to_owned()),
            Fact::Port(5432),
            Fact::Code("target.refused".to_owned()),
        ]
    }

    #[test]
    fn the_reference_lists_each_attribute_and_no_other() {
        let page = include_str!("../../../docs/reference/traces.md");
        let facts = all().into_iter().map(Fact::attribute).chain(resource());
        let mut names: Vec<String> = facts.map(|fact| fact.key).collect();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        // The names of spans have a table of their own.
        let listed = rows.filter_map(|row| row.split('`').next().filter(|name| name.contains('.')));
        let mut listed: Vec<String> = listed.map(str::to_owned).collect();
        names.sort();
        listed.sort();
        assert_eq!(names, listed);
    }

    #[test]
    fn a_long_code_is_cut_between_two_characters() {
        let attribute = Fact::Code("ä".repeat(200)).attribute();
        let Some(Value::StringValue(value)) = attribute.value.unwrap().value else {
            panic!("no text");
        };
        assert_eq!(value, "ä".repeat(128));
    }
}
