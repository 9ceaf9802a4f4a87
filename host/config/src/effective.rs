use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Config, FirstRun, Gap, ProofChoice, Rotation, Upgrades, Vault};
use keywheel_model::SecretName;
use keywheel_model::address::Host;
use keywheel_schedule::{Blackout, CatchUp, Schedule, Trigger, Window};

use crate::document::join;
use crate::problem::Place;
use crate::sink::{Email, NotifyKind, Route, Way, Wording};
use crate::{show_duration, show_size};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It stands in the file.
    File(Place),
    /// It was left out.
    Default,
}

/// One value that counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Dotted: `limits.memory`, `rotation.app-db.grace`.
    pub key: String,
    /// As it would stand in the file.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

impl Config {
    /// Every value that counts, with its origin, in the order of the format.
    pub fn effective(&self) -> Vec<Entry> {
        let mut list = List {
            config: self,
            entries: Vec::new(),
        };
        list.add("state.dir", "/state/dir", json!(self.state_dir));
        list.add("vault.kind", "/vault/kind", json!("embedded"));
        match &self.vault {
            Vault::Embedded { key_file } => list.add("vault.key_file", "/vault/key_file", json!(key_file)),
        }
        self.list_serve(&mut list);
        if let Some(every) = self.backup_every {
            list.add("backup.every", "/backup/every", json!(show_duration(every)));
        }
        list.add("plugins.dir", "/plugins/dir", json!(self.plugins.dir));
        list.add("plugins.lock", "/plugins/lock", json!(self.plugins.lock));
        let upgrades = match self.plugins.upgrades {
            Upgrades::Hold => "hold",
            Upgrades::SameGrants => "same-grants",
        };
        list.add("plugins.upgrades", "/plugins/upgrades", json!(upgrades));
        list.add(
            "plugins.publishers",
            "/plugins/publishers",
            json!(self.plugins.publishers),
        );
        let signatures = if self.plugins.signatures_required {
            "required"
        } else {
            "optional"
        };
        list.add("plugins.signatures", "/plugins/signatures", json!(signatures));
        list.add("policies.dir", "/policies/dir", json!(self.policies_dir));
        self.list_notify(&mut list);
        for (at, grant) in self.grants.iter().enumerate() {
            for (key, value) in [
                ("uid", json!(grant.uid)),
                ("allow", json!(["read-plaintext"])),
                ("secrets", json!(grant.secrets)),
            ] {
                list.add(&format!("grant.{at}.{key}"), &format!("/grant/{at}/{key}"), value);
            }
        }
        for (name, set) in &self.trust {
            list.add(
                &format!("trust.{name}.pem"),
                &format!("{}/pem", join("/trust", name)),
                json!(set.pem),
            );
        }
        let limits = &self.limits;
        list.add(
            "limits.memory",
            "/limits/memory",
            json!(show_size(limits.memory_bytes)),
        );
        list.add("limits.cpu", "/limits/cpu", json!(show_duration(limits.cpu)));
        list.add("limits.step", "/limits/step", json!(show_duration(limits.step)));
        for (name, value) in scheduled(&self.schedule) {
            // A trigger is a rotation's own.
            if !["cron", "every", "on_start", "paused"].contains(&name) {
                list.add(&format!("schedule.{name}"), &format!("/schedule/{name}"), value);
            }
        }
        for (at, group) in self.linked.iter().enumerate() {
            let (key, pointer) = (format!("linked.{}", group.name), format!("/linked/{at}"));
            list.add(
                &format!("{key}.rotations"),
                &format!("{pointer}/rotations"),
                json!(group.rotations),
            );
            let offset = json!(show_duration(group.offset));
            list.add(&format!("{key}.offset"), &format!("{pointer}/offset"), offset);
        }
        for rotation in &self.rotations {
            list.rotation(rotation);
        }
        self.list_tables(&mut list);
        list.entries
    }

    /// Their rows are not the configuration's own text: what each is made of is.
    fn list_tables(&self, list: &mut List<'_>) {
        for table in self.tables() {
            let pointer = format!("/rotation/{}", table.sample.index);
            let key = format!("rotation.{}", table.path.display());
            list.add(
                &format!("{key}.each"),
                &format!("{pointer}/each"),
                json!(table.path),
            );
            for (name, value) in table.template.json().as_object().into_iter().flatten() {
                list.add(
                    &format!("{key}.{name}"),
                    &format!("{pointer}/{name}"),
                    value.clone(),
                );
            }
        }
    }

    fn list_serve(&self, list: &mut List<'_>) {
        list.add("serve.socket", "/serve/socket", json!(self.socket));
        list.add("serve.http", "/serve/http", json!(self.http));
        list.add("serve.watch", "/serve/watch", json!(self.watch));
        list.add(
            "serve.name_secrets",
            "/serve/name_secrets",
            json!(self.name_secrets),
        );
        if let Some(traces) = &self.traces {
            list.add("traces.endpoint", "/traces/endpoint", json!(traces.to_string()));
            list.add("traces.trust", "/traces/trust", json!(traces.trust));
        }
        let kept = &self.retention;
        list.add(
            "retention.runs",
            "/retention/runs",
            json!(show_duration(kept.runs)),
        );
        list.add(
            "retention.audit",
            "/retention/audit",
            json!(kept.audit.map(show_duration)),
        );
        list.add(
            "retention.notices",
            "/retention/notices",
            json!(show_duration(kept.notices)),
        );
        list.add(
            "retention.versions",
            "/retention/versions",
            json!(kept.versions.map(show_duration)),
        );
        list.add("expiry.percent", "/expiry/percent", json!(self.expiry.percent));
        let left: Vec<String> = self.expiry.left.iter().copied().map(show_duration).collect();
        list.add("expiry.left", "/expiry/left", json!(left));
        let pace = &self.pace;
        list.add("schedule.at_once", "/schedule/at_once", json!(pace.at_once));
        list.add(
            "schedule.at_once_per_target",
            "/schedule/at_once_per_target",
            json!(pace.at_once_per_target),
        );
        list.add(
            "schedule.at_once_per_plugin",
            "/schedule/at_once_per_plugin",
            json!(pace.at_once_per_plugin),
        );
        list.add("schedule.tries", "/schedule/tries", json!(pace.retry.tries));
        let brake = pace.brake.map(|share| f64::from(share) / 1000.0);
        list.add("schedule.brake", "/schedule/brake", json!(brake));
    }

    fn list_notify(&self, list: &mut List<'_>) {
        for (at, sink) in self.notify.iter().enumerate() {
            let mut add = |key: &str, value| {
                list.add(
                    &format!("notify.{}.{key}", sink.name),
                    &format!("/notify/{at}/{key}"),
                    value,
                );
            };
            add("kind", json!(sink.kind.as_str()));
            for (key, value) in of_kind(&sink.kind) {
                add(key, value);
            }
            let about = [
                (sink.attention, "attention"),
                (sink.events, "events"),
                (sink.started, "started"),
            ];
            let about: Vec<&str> = about
                .into_iter()
                .filter_map(|(wanted, word)| wanted.then_some(word))
                .collect();
            add("about", json!(about));
            let Route {
                severities,
                kinds,
                labels,
            } = &sink.route;
            let Wording { title, text, link } = &sink.wording;
            let written = [
                ("severities", !severities.is_empty(), json!(severities)),
                ("kinds", !kinds.is_empty(), json!(kinds)),
                ("labels", !labels.is_empty(), json!(labels)),
                ("title", title.is_some(), json!(title)),
                ("text", text.is_some(), json!(text)),
                ("link", link.is_some(), json!(link)),
            ];
            for (key, _, value) in written.into_iter().filter(|(_, is_there, _)| *is_there) {
                add(key, value);
            }
        }
    }
}

/// What a sink of this kind has of its own. Secrets are there by name.
fn of_kind(kind: &NotifyKind) -> Vec<(&'static str, Value)> {
    let kept = |name: &SecretName| json!({"secret": name.as_str()});
    match kind {
        NotifyKind::Log => Vec::new(),
        NotifyKind::Command {
            program,
            arguments,
            timeout,
        } => {
            let program = program.display().to_string();
            let words: Vec<_> = [program].into_iter().chain(arguments.clone()).collect();
            vec![
                ("command", json!(words)),
                ("timeout", json!(show_duration(*timeout))),
            ]
        }
        NotifyKind::Channel { way, trust, timeout } => {
            let mut of = match way {
                Way::Slack { url } | Way::Teams { url } => vec![("url", kept(url))],
                Way::PagerDuty { key, endpoint } => vec![("key", kept(key)), ("endpoint", json!(endpoint))],
                Way::Webhook { url, key } => vec![("url", kept(url)), ("key", kept(key))],
                Way::Email(email) => of_email(email),
            };
            of.push(("trust", json!(trust)));
            of.push(("timeout", json!(show_duration(*timeout))));
            of
        }
    }
}

fn of_email(email: &Email) -> Vec<(&'static str, Value)> {
    let host = match &email.host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    };
    let tls = if email.implicit { "implicit" } else { "starttls" };
    let mut of = vec![
        ("server", json!(format!("{host}:{}", email.port))),
        ("tls", json!(tls)),
        ("from", json!(email.from)),
        ("to", json!(email.to)),
    ];
    if let Some((user, password)) = &email.login {
        of.push(("user", json!(user)));
        of.push(("password", json!({"secret": password.as_str()})));
    }
    of
}

struct List<'a> {
    config: &'a Config,
    entries: Vec<Entry>,
}

impl List<'_> {
    fn add(&mut self, key: &str, pointer: &str, value: Value) {
        let origin = self
            .config
            .document
            .place_of(pointer)
            .map_or(Origin::Default, Origin::File);
        self.entries.push(Entry {
            key: key.to_owned(),
            value,
            origin,
        });
    }

    fn rotation(&mut self, rotation: &Rotation) {
        let pointer = format!("/rotation/{}", rotation.index);
        let key = format!("rotation.{}", rotation.name);
        let mut add = |name: &str, value: Value| {
            self.add(
                &format!("{key}.{}", name.replace('/', ".")),
                &format!("{pointer}/{name}"),
                value,
            );
        };
        add("plugin", json!(rotation.plugin));
        add("secret", json!(rotation.secret));
        add("inputs", json!(rotation.inputs));
        add("outputs", json!(rotation.outputs));
        add("forms", json!(rotation.forms));
        add("config", rotation.config.clone());
        add("public", json!(rotation.public));
        add("labels", json!(rotation.labels));
        add("policy", json!(rotation.policy));
        let schedule = if rotation.schedule.is_manual() {
            json!("manual")
        } else {
            Value::Object(
                scheduled(&rotation.schedule)
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        };
        add("schedule", schedule);
        let approval = rotation.approval.as_ref();
        let approval =
            approval.map(|approval| json!({ "expires": show_duration(approval.expires), "by": approval.by }));
        add("approval", json!(approval));
        add("grace", json!(show_duration(rotation.grace)));
        let consumers = rotation.consumers.iter();
        let consumers = consumers.map(|consumer| {
            let mut shown = json!({ "name": consumer.name, "staleness": show_duration(consumer.staleness) });
            if let Some(hook) = &consumer.hook {
                let program = hook.program.display().to_string();
                let words: Vec<_> = [program].into_iter().chain(hook.arguments.clone()).collect();
                shown["hook"] =
                    json!({ "exec": words, "timeout": show_duration(hook.timeout), "announce": hook.announce });
            }
            shown
        });
        add("consumers", consumers.collect());
        add(
            "gap",
            json!(match rotation.gap {
                Gap::Refuse => "refuse",
                Gap::Accept => "accept",
            }),
        );
        add(
            "proof",
            json!(match rotation.proof {
                ProofChoice::Login => "login",
                ProofChoice::Deferred => "deferred",
                ProofChoice::Accept => "accept",
            }),
        );
        add(
            "first",
            json!(match rotation.first {
                FirstRun::Adopt => "adopt",
                FirstRun::Set => "set",
            }),
        );
        add("deadlines/step", json!(show_duration(rotation.deadlines.step)));
        add("deadlines/run", json!(show_duration(rotation.deadlines.run)));
        add("probes/logins", json!(rotation.probes.logins));
        add("probes/per", json!(show_duration(rotation.probes.per)));
    }
}

/// Each key of a schedule with what counts, as it would stand in the file.
fn scheduled(schedule: &Schedule) -> impl Iterator<Item = (&'static str, Value)> {
    let (cron, every) = match &schedule.trigger {
        Some(Trigger::Cron(expression)) => (Some(expression.as_str()), None),
        Some(Trigger::Every(every)) => (None, Some(show_duration(*every))),
        None => (None, None),
    };
    let window = |window: &Window| {
        json!({
            "start": window.start.as_str(), "for": show_duration(window.length), "zone": window.zone.name()
        })
    };
    let blackout = |blackout: &Blackout| match blackout {
        Blackout::Recurring(recurring) => window(recurring),
        Blackout::Once { from, until } => {
            let zone = &schedule.zone;
            json!({ "from": zone.local(*from), "to": zone.local(*until), "zone": zone.name() })
        }
    };
    let catch_up = match schedule.catch_up {
        CatchUp::One => "one",
        CatchUp::Skip => "skip",
    };
    [
        ("cron", json!(cron)),
        ("every", json!(every)),
        ("zone", json!(schedule.zone.name())),
        (
            "renew_at",
            json!(schedule.renew_at.map(|share| f64::from(share) / 1000.0)),
        ),
        ("before_expiry", json!(schedule.before_expiry.map(show_duration))),
        ("on_start", json!(schedule.on_start)),
        ("paused", json!(schedule.paused)),
        ("jitter", json!(show_duration(schedule.jitter))),
        ("catch_up", json!(catch_up)),
        ("max_lateness", json!(schedule.max_lateness.map(show_duration))),
        ("window", schedule.windows.iter().map(window).collect()),
        ("blackout", schedule.blackouts.iter().map(blackout).collect()),
    ]
    .into_iter()
}
