use keywheel_model::{SecretName, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What is counted when somebody asks, in place of at every change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The version of the host.
    pub version: &'static str,
    /// Rotations in the configuration.
    pub rotations: u64,
    /// Open runs by the word of their state.
    pub open_runs: Vec<(&'static str, u64)>,
    /// Entries of what needs a person, as `keywheel status` lists them.
    pub attention: u64,
    /// Whether the vault is sealed: nothing is rotated.
    pub sealed: bool,
    /// When the newest backup was made, if one was.
    pub backed_up: Option<Timestamp>,
    /// Rows in the audit trail.
    pub audit_rows: u64,
    /// Commits of the store since it was opened.
    pub commits: u64,
    /// Spans that a collector has taken, and those that were lost, since the host was started.
    pub spans: (u64, u64),
    /// Of each secret, where the operator wants their names; otherwise the earliest of all, without a name.
    pub expiries: Vec<Expiry>,
}

/// When a credential ends to be valid, and when it is to be renewed.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// Of which secret; none: the earliest of all.
    pub secret: Option<SecretName>,
    /// When it ends to be valid by itself.
    pub expires: Option<Timestamp>,
    /// When its rotation is due next by itself.
    pub renews: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    keywheel_rotation_state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecretLabels {
    keywheel_secret_name: Option<String>,
}

impl Snapshot {
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("keywheel");
        let version = Info::new(vec![("version", self.version)]);
        registry.register("build", "This host", version);
        for (name, help, count) in [
            ("rotation_count", "Rotations in the configuration", self.rotations),
            (
                "attention_count",
                "What needs a person, as `keywheel status` lists it",
                self.attention,
            ),
            (
                "vault_sealed",
                "1 while the vault is sealed and nothing is rotated",
                u64::from(self.sealed),
            ),
        ] {
            registry.register(name, help, ConstGauge::new(count));
        }
        for (name, help, count) in [
            ("audit_events", "Rows in the audit trail", self.audit_rows),
            (
                "store_commits",
                "Commits of the store since the host was started",
                self.commits,
            ),
            (
                "trace_spans_taken",
                "Spans that the collector has taken",
                self.spans.0,
            ),
            (
                "trace_spans_lost",
                "Spans that no collector has taken, and none will",
                self.spans.1,
            ),
        ] {
            registry.register(name, help, ConstCounter::new(count));
        }
        if let Some(at) = self.backed_up {
            registry.register_with_unit(
                "backup_timestamp",
                "When the newest backup was made, Unix time",
                Unit::Seconds,
                ConstGauge::new(seconds(at)),
            );
        }
        let active: Family<StateLabels, Gauge> = Family::default();
        for (state, count) in &self.open_runs {
            let labels = StateLabels {
                keywheel_rotation_state: state,
            };
            let gauge = active.get_or_create(&labels);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        registry.register(
            "rotation_run_active",
            "Runs that are not over, by their state",
            active,
        );
        self.secrets(&mut registry);
        registry
    }

    fn secrets(&self, registry: &mut Registry) {
        let (expires, renews) = (
            Family::<SecretLabels, Gauge>::default(),
            Family::<SecretLabels, Gauge>::default(),
        );
        for expiry in &self.expiries {
            let labels = SecretLabels {
                keywheel_secret_name: expiry.secret.as_ref().map(ToString::to_string),
            };
            for (family, at) in [(&expires, expiry.expires), (&renews, expiry.renews)] {
                if let Some(at) = at {
                    family.get_or_create(&labels).set(seconds(at));
                }
            }
        }
        registry.register_with_unit(
            "secret_expiration_timestamp",
            "When a credential ends to be valid, Unix time",
            Unit::Seconds,
            expires,
        );
        registry.register_with_unit(
            "secret_renewal_timestamp",
            "When a rotation is due next by itself, Unix time",
            Unit::Seconds,
            renews,
        );
    }
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_unix_ms() / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn text(snapshot: &Snapshot) -> String {
        let mut text = String::new();
        text::encode_registry(&mut text, &snapshot.registry()).expect("text");
        text
    }

    #[test]
    fn a_secret_is_named_only_where_the_operator_wants_it() {
        let expiry = |secret: Option<&str>| Expiry {
            secret: secret.map(|name| name.parse().expect("a name")),
            expires: Some(Timestamp::from_unix_ms(1_764_000_000_000)),
            renews: None,
        };
        let named = text(&Snapshot {
            expiries: vec![expiry(Some("app/db"))],
            ..Snapshot::default()
        });
        let line =
            r#"keywheel_secret_expiration_timestamp_seconds{keywheel_secret_name="app/db"} 1764000000"#;
        assert!(named.lines().any(|found| found == line), "{named}");
        let unnamed = text(&Snapshot {
            expiries: vec![expiry(None)],
            ..Snapshot::default()
        });
        assert!(!unnamed.contains("app/db"), "{unnamed}");
        assert!(
            unnamed.contains("keywheel_secret_expiration_timestamp_seconds"),
            "{unnamed}"
        );
        assert!(
            !unnamed.contains("keywheel_secret_renewal_timestamp_seconds{"),
            "{unnamed}"
        );
    }
}
