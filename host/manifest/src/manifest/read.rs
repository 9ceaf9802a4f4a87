use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use keywheel_model::{Proof, SlotClass, Strategy};
use serde_json::Value;

use super::{Capability, FORMAT, Manifest, Mode};
use crate::call::SecretRole;
use crate::canonical::has_only_exact_numbers;
use crate::pointer::Pointer;
use crate::reader::{Fields, Problems, join};
use crate::shape::{Shape, ShapeBody, ShapeEffect};

const KINDS: [&str; 4] = ["login", "sql", "frame", "http"];
const MAX_SHAPES: usize = 256;

pub(super) fn document(document: &Value, problems: &mut Problems) -> Option<Manifest> {
    if !has_only_exact_numbers(document) {
        problems.add("", "numbers in a manifest are whole and at most 2^53 - 1");
    }
    let mut fields = Fields::of(document, "", problems)?;
    if let Some(format) = fields.required("format", problems)
        && format.as_i64() != Some(FORMAT)
    {
        problems.add("format", format!("expected {FORMAT}"));
    }
    let name = fields.required_parsed("name", problems);
    let version = fields.required_text("version", problems);
    if version.is_some_and(|version| !is_version(version)) {
        problems.add(
            "version",
            "expected a version such as `1.2.0`: digits, letters, `.`, `-`, `+`, at most 63",
        );
    }
    let summary = fields.required_text("summary", problems);
    if summary.is_some_and(|summary| summary.len() > 200 || summary.chars().any(char::is_control)) {
        problems.add("summary", "expected one line of at most 200 bytes");
    }
    let docs = fields.text("docs", problems);
    if docs.is_some_and(|docs| {
        !docs.starts_with("https://") || docs.chars().any(|c| c.is_control() || c.is_whitespace())
    }) {
        problems.add("docs", "expected an `https://` address");
    }
    let config_schema = fields.required("config-schema", problems);
    fields.required("capabilities", problems);
    let capabilities: BTreeSet<Capability> =
        fields.parsed_list("capabilities", problems).into_iter().collect();
    let target = pointers(&mut fields, "target", problems);
    let account = pointers(&mut fields, "account", problems);
    let replicas = replicas(&mut fields, target.len(), problems);
    let inputs: BTreeSet<String> = fields
        .texts("inputs", problems)
        .into_iter()
        .map(str::to_owned)
        .collect();
    for input in inputs.iter().filter(|input| !is_input(input)) {
        problems.add(
            "inputs",
            format!(
                "`{}` is no name: a-z, 0-9 and -, first a letter, at most 63",
                input.escape_debug()
            ),
        );
    }
    let modes = read_modes(&mut fields, &inputs, problems);
    let shapes = read_shapes(&mut fields, problems);
    fields.finish(problems);
    check_shapes(&shapes, &inputs, &capabilities, problems);
    Some(Manifest {
        name: name?,
        version: version?.to_owned(),
        summary: summary?.to_owned(),
        docs: docs.map(str::to_owned),
        config_schema: config_schema?.clone(),
        capabilities,
        inputs,
        target,
        account,
        replicas,
        modes,
        shapes,
        document: document.clone(),
        validator: OnceLock::new(),
    })
}

fn is_version(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    (1..=63).contains(&text.len()) && text.as_bytes()[0].is_ascii_digit() && text.bytes().all(good)
}

fn is_input(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(good)
}

fn pointers(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<Pointer> {
    if fields.required(key, problems).is_none() {
        return Vec::new();
    }
    let pointers: Vec<Pointer> = fields.parsed_list(key, problems);
    let prefixes: BTreeSet<&str> = pointers
        .iter()
        .filter_map(Pointer::around_star)
        .map(|(prefix, _)| prefix)
        .collect();
    if pointers.is_empty() || prefixes.len() > 1 {
        problems.add(
            key,
            "expected pointers into the configuration, of which those with `*` share the array",
        );
    }
    pointers
}

/// Servers that copy the account, each told as a target is; most plugins have none.
fn replicas(fields: &mut Fields<'_>, as_target: usize, problems: &mut Problems) -> Vec<Pointer> {
    if fields.value("replicas").is_none() {
        return Vec::new();
    }
    let found = pointers(fields, "replicas", problems);
    if found.len() != as_target {
        problems.add(
            "replicas",
            "expected as many pointers as `target` has, for the same of each",
        );
    }
    found
}

fn read_modes(fields: &mut Fields<'_>, inputs: &BTreeSet<String>, problems: &mut Problems) -> Vec<Mode> {
    fields.required("mode", problems);
    let mut modes = Vec::new();
    let mut complete = false;
    for (at, value) in fields.list("mode", problems).iter().enumerate() {
        if complete {
            problems.add(
                format!("mode[{at}]"),
                "never reached: a mode without `when` stands before it",
            );
        }
        complete |= value.get("when").is_none();
        modes.extend(read_mode(value, format!("mode[{at}]"), inputs, problems));
    }
    modes
}

fn read_mode(
    value: &Value,
    path: String,
    inputs: &BTreeSet<String>,
    problems: &mut Problems,
) -> Option<Mode> {
    let mut fields = Fields::of(value, path, problems)?;
    let mut when = BTreeMap::new();
    let when_path = fields.path("when");
    for (key, wanted) in fields.table("when", problems).into_iter().flatten() {
        match key.parse::<Pointer>() {
            Ok(pointer) => drop(when.insert(pointer, wanted.clone())),
            Err(error) => problems.add(join(&when_path, key), error.to_string()),
        }
    }
    let class = choice(
        &mut fields,
        "class",
        &SlotClass::ALL.map(|class| (class, format!("{class:?}"))),
        problems,
    );
    let strategies = [
        (Strategy::OneSlot, "one-slot"),
        (Strategy::TwoSlot, "two-slot"),
        (Strategy::IssueAndRevoke, "issue-and-revoke"),
    ];
    let strategy = choice(&mut fields, "strategy", &strategies, problems);
    let proof = choice(
        &mut fields,
        "proof",
        &[
            (Proof::Login, "login"),
            (Proof::Handshake, "handshake"),
            (Proof::None, "none"),
        ],
        problems,
    );
    let belief_path = fields.path("belief");
    let belief = fields.required_text("belief", problems);
    let belief = belief.and_then(|text| {
        duration(text).or_else(|| {
            problems.add(
                belief_path,
                "expected a whole number and a unit: `500ms`, `90s`, `10m`, `2h`; at most 24 h",
            );
            None
        })
    });
    let lockout_path = fields.path("lockout");
    let never_locks = match fields.text("lockout", problems) {
        None => false,
        Some("none") => true,
        Some(_) => {
            problems.add(
                lockout_path,
                "expected `none`, or nothing for a target that may lock accounts",
            );
            false
        }
    };
    let account = fields
        .value("account")
        .is_some()
        .then(|| pointers(&mut fields, "account", problems));
    let own = fields
        .value("inputs")
        .is_some()
        .then(|| fields.texts("inputs", problems));
    let own: Option<BTreeSet<String>> = own.map(|own| own.into_iter().map(str::to_owned).collect());
    for input in own.iter().flatten().filter(|input| !inputs.contains(*input)) {
        let message = format!("`{}` is not among the manifest's `inputs`", input.escape_debug());
        problems.add(fields.path("inputs"), message);
    }
    fields.finish(problems);
    Some(Mode {
        when,
        class: class?,
        strategy: strategy?,
        proof: proof?,
        belief: belief?,
        never_locks,
        account,
        inputs: own,
    })
}

fn choice<T: Copy, N: AsRef<str>>(
    fields: &mut Fields<'_>,
    key: &'static str,
    choices: &[(T, N)],
    problems: &mut Problems,
) -> Option<T> {
    let text = fields.required_text(key, problems)?;
    let found = choices
        .iter()
        .find(|(_, name)| name.as_ref() == text)
        .map(|(choice, _)| *choice);
    if found.is_none() {
        let all = choices
            .iter()
            .map(|(_, name)| format!("`{}`", name.as_ref()))
            .collect::<Vec<_>>()
            .join(", ");
        problems.add(fields.path(key), format!("expected one of {all}"));
    }
    found
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    (ms <= 24 * 3_600_000).then(|| Duration::from_millis(ms))
}

fn read_shapes(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for kind in KINDS {
        for (at, value) in fields.list(kind, problems).iter().enumerate() {
            shapes.extend(Shape::read(kind, value, format!("{kind}[{at}]"), problems));
        }
    }
    if shapes.len() > MAX_SHAPES {
        problems.add("", format!("{} shapes; at most {MAX_SHAPES}", shapes.len()));
    }
    shapes
}

fn check_shapes(
    shapes: &[Shape],
    inputs: &BTreeSet<String>,
    capabilities: &BTreeSet<Capability>,
    problems: &mut Problems,
) {
    for (at, shape) in shapes.iter().enumerate() {
        let path = format!(
            "{}[{}]",
            shape.kind(),
            shapes[..at]
                .iter()
                .filter(|before| before.kind() == shape.kind())
                .count()
        );
        for before in &shapes[..at] {
            if before.id() == shape.id() {
                problems.add(
                    join(&path, "id"),
                    format!("`{}` is the id of another shape", shape.id()),
                );
            }
            if before.body() == shape.body() {
                problems.add(
                    &path,
                    format!(
                        "looks the same as `{}`: no call could match just one of them",
                        before.id()
                    ),
                );
            }
        }
        for role in shape.secrets() {
            if let SecretRole::Input(name) = role
                && !inputs.contains(name)
            {
                problems.add(&path, format!("`{{input:{name}}}` is not among `inputs`"));
            }
        }
        let needs = match shape.body() {
            ShapeBody::Login(_) | ShapeBody::Sql(_) => Capability::Sql,
            ShapeBody::Frame(_) => Capability::Net,
            ShapeBody::Http(_) => Capability::Http,
        };
        if !capabilities.contains(&needs) {
            problems.add(&path, format!("needs `{needs}` among `capabilities`"));
        }
        // A pending or current value that is sent in its plain form to be accepted is no harm; one that proves itself as
        // `none` would escape the budget of failed logins.
        let own = shape
            .secrets()
            .iter()
            .any(|role| matches!(role, SecretRole::Run(_)));
        if own && shape.effect() == ShapeEffect::None {
            problems.add(
                join(&path, "effect"),
                "a call with the rotated secret is at least a `login`",
            );
        }
    }
}
