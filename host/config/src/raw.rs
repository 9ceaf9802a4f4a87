//! The file as it is written. These types are the format: the JSON Schema is made from them, the structure of a file
//! is checked against that schema, and then they are filled in. Their comments are the schema's descriptions.

pub(crate) mod grant;
pub(crate) mod hook;
pub(crate) mod linked;
pub(crate) mod notify;
pub(crate) mod schedule;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Value, json};

/// The configuration of a Keywheel host: `keywheel.toml`. Paths are relative to the folder of this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "keywheel.toml")]
pub(crate) struct File {
    /// Where the host keeps its journal.
    pub(crate) state: State,
    /// Where secrets are kept.
    pub(crate) vault: Vault,
    /// The running host.
    pub(crate) serve: Serve,
    /// That runs are traced.
    pub(crate) traces: Option<Traces>,
    /// How long what is old is kept.
    pub(crate) retention: Retention,
    /// When people are told that something stops to be valid.
    pub(crate) expiry: Expiry,
    /// That backups are made. Without it nothing waits for one.
    pub(crate) backup: Option<Backup>,
    /// Where plugins come from.
    pub(crate) plugins: Plugins,
    /// Where grants come from.
    pub(crate) policies: Policies,
    /// Certificate authorities by a name that a plugin's configuration can use instead of the system's roots.
    #[schemars(extend("propertyNames" = { "format": "keywheel-name" }))]
    pub(crate) trust: BTreeMap<String, Trust>,
    /// Limits of every step of every plugin.
    pub(crate) limits: Limits,
    /// Whom the running host tells what needs a person.
    pub(crate) notify: Vec<notify::Notify>,
    /// Which users of this machine may read which values by a program.
    pub(crate) grant: Vec<grant::Grant>,
    /// When rotations run, where they do not say otherwise.
    pub(crate) schedule: schedule::Defaults,
    /// Groups of rotations of which never two are open at once.
    pub(crate) linked: Vec<linked::Linked>,
    /// What is rotated.
    pub(crate) rotation: Vec<Rotation>,
}

/// Where the host keeps its journal.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct State {
    /// The folder. Default: `state`.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) dir: Option<String>,
}

/// Where secrets are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Vault {
    /// Which back end. Default: `embedded`.
    pub(crate) kind: Option<VaultKind>,
    /// The file with the key that opens the embedded vault; only its owner may read it. Without it the vault starts
    /// sealed and asks for its passphrase.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) key_file: Option<String>,
}

/// The running host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Serve {
    /// The Unix socket on which commands reach it; 106 bytes at most. Default: `socket` in the state folder.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) socket: Option<String>,
    /// A loopback address and port, like "127.0.0.1:9464", on which it answers `/healthz`, `/readyz` and `/metrics`. Everybody on this machine can
    /// read them. Default: none, and nothing listens.
    pub(crate) http: Option<String>,
    /// Whether it takes changed files by itself: this one, plugins, grants, pins and trust sets. Default: true; otherwise `SIGHUP` has it read them again.
    pub(crate) watch: Option<bool>,
    /// Whether the metrics name secrets, each with its own expiry and renewal. Default: false; then there is the earliest of all, without a name.
    pub(crate) name_secrets: Option<bool>,
}

/// That the running host sends spans of OpenTelemetry to a collector, by OTLP over HTTP: of each run, its steps, and their calls of targets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traces {
    /// The collector, like `http://127.0.0.1:4318` or `https://collector.internal:4318`. Where no path is named, it is `/v1/traces`.
    pub(crate) endpoint: String,
    /// The trust set that its certificate must be of. Default: the operating system's authorities.
    pub(crate) trust: Option<String>,
}

/// How long what is old is kept. The running host forgets the rest by itself, `keywheel vault trim` does so at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Finished runs, counted from their end, like "400d"; the newest fifty of each rotation stay, and those whose credential lives. Default: 400d.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) runs: Option<String>,
    /// Rows of the audit trail, like "800d". Checkpoints from before what is cut can be compared with nothing any more. Default: for ever.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) audit: Option<String>,
    /// Notices that every sink has taken, counted from then. Default: 30d.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) notices: Option<String>,
    /// Revoked versions of a secret, with their values, counted from their end, like "180d"; the newest ten of each secret stay. Longer than any restore of a
    /// target reaches back: what a target is set back to can only be found while it is kept. Default: for ever.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) versions: Option<String>,
}

/// When people are told that something in use stops to be valid: again at each of these, the nearest to the end last.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expiry {
    /// So many hundredths of its whole life are left. Default: [33, 10].
    #[schemars(inner(range(min = 1, max = 99)))]
    pub(crate) percent: Option<Vec<u8>>,
    /// So much is left, like "14d". What is longer than half of its life is not for that one. Default: `["30d", "14d", "7d", "3d", "1d"]`.
    #[schemars(extend("items" = { "type": "string", "format": "keywheel-duration" }))]
    pub(crate) left: Option<Vec<String>>,
}

/// That backups are made, by a timer that runs `keywheel vault backup`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// At least this often, like "24h". `keywheel status` tells when the newest is older; and the old credential of an administrator, a secret that
    /// other rotations have as an input, is not revoked before a backup holds the new one.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) every: String,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VaultKind {
    // The vault in the state folder, encrypted under a key for each version.
    Embedded,
}

/// Where plugins come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plugins {
    /// The folder of the `.wasm` files. Default: `plugins`.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) dir: Option<String>,
    /// The lock file with the digests of the plugins that may run. Default: `plugins.lock`.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) lock: Option<String>,
    /// What a changed file may do by itself: `hold` waits for `keywheel plugin add`; `same-grants` takes it if it asks
    /// for no more than before. Default: `hold`.
    pub(crate) upgrades: Option<Upgrades>,
    /// Public keys of publishers whose signatures count, as minisign writes them (the second line of a `.pub` file). The signature of `NAME.wasm` lies
    /// beside it as `NAME.wasm.minisig`. Default: none, and no signature is looked at.
    pub(crate) publishers: Vec<String>,
    /// Whether a file without a signature may be pinned: `optional` or `required`. Default: `optional`.
    pub(crate) signatures: Option<Signatures>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Signatures {
    Optional,
    Required,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Upgrades {
    Hold,
    SameGrants,
}

/// Where grants come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policies {
    /// The folder of the grants. Default: `policies`.
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) dir: Option<String>,
}

/// A set of certificate authorities.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trust {
    /// PEM files with certificates.
    #[schemars(length(min = 1))]
    pub(crate) pem: Vec<PathText>,
}

/// Limits of every step of every plugin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Memory of one instance, like "128 MiB". Default: 128 MiB.
    #[schemars(extend("format" = "keywheel-size"))]
    pub(crate) memory: Option<String>,
    /// Time that the plugin itself may compute in one step, like "5s". Default: 5s.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) cpu: Option<String>,
    /// Wall clock of one step, at most "15m". Default: 60s.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) step: Option<String>,
}

/// One credential that is rotated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// One table for many rotations: a CSV file, relative to the folder of this one, whose first line names its columns and each of whose other lines is a
    /// rotation. `{column}` in a text of `name`, `secret`, `outputs`, `forms`, `config`, `labels`, `schedule` and `consumers` (but for hooks) stands for the
    /// row's cell, `{{` and `}}` for braces; all else is the same for each of them. Default: none, and this is one rotation.
    #[expect(
        dead_code,
        reason = "it makes a template of the table, which is told apart before it is filled in"
    )]
    #[schemars(extend("format" = "keywheel-path"))]
    pub(crate) each: Option<String>,
    /// Its name: lower-case letters, digits, `-`.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) name: String,
    /// The plugin that rotates it.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) plugin: String,
    /// The secret's name in the vault. No two rotations have the same.
    #[schemars(extend("format" = "keywheel-secret-name"))]
    pub(crate) secret: String,
    /// Other secrets that the plugin may use, by the name the plugin gives them: `{ admin = "db/admin" }`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "keywheel-name" }))]
    pub(crate) inputs: BTreeMap<String, SecretText>,
    /// Where further names of a version are stored (a connection string), by the name the plugin gives them.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "keywheel-name" }))]
    pub(crate) outputs: BTreeMap<String, SecretText>,
    /// Further names in the vault that hold the same password in another form: they are written with each new version of the secret, promoted with it, and
    /// put back with it. Default: none.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub(crate) forms: Vec<Form>,
    /// The plugin's own settings; `keywheel plugin show NAME` prints their schema.
    #[serde(default)]
    pub(crate) config: serde_json::Map<String, Value>,
    /// Parts of the secret that are no secret, as JSON pointers into its document: the plugin may read these as text, and only
    /// these. Default: `["/username", "/access_key_id"]`.
    pub(crate) public: Option<Vec<Pointer>>,
    /// What it belongs to, for commands that take many rotations (`rotate -l server=db1`): names with a text of at most 63 characters.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "keywheel-name" }))]
    pub(crate) labels: BTreeMap<String, LabelText>,
    /// A grant for this rotation alone: the file `NAME.toml` in the policies' folder, which names this rotation. It
    /// narrows the plugin's own grant, which always counts.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) policy: Option<String>,
    /// When it runs: an expression, or a table. Default: by hand alone.
    pub(crate) schedule: Option<schedule::Written>,
    /// That a person has to approve each run before anything is made or written: `{}`, or with `expires` and `by`. Default: nobody is asked.
    pub(crate) approval: Option<Approval>,
    /// How long the previous version stays alive after the new one was promoted, like "24h": at least so long, unless every consumer has reported that it
    /// holds the new one. Default: 24h, or the longest staleness of a consumer if that is longer.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) grace: Option<String>,
    /// Who reads the secret.
    #[serde(default)]
    pub(crate) consumers: Vec<Consumer>,
    /// Whether a time in which consumers hold only a dead credential is accepted, where the target keeps just one:
    /// `refuse` or `accept`. Default: `refuse`.
    pub(crate) gap: Option<Gap>,
    /// What must be proved before the new credential is promoted: `login`; `deferred` (promoted on a committed change,
    /// proved later, nothing revoked before); `accept` (nothing can be asked). Default: `login`.
    pub(crate) proof: Option<Proof>,
    /// What the first run does when the secret has no version: `adopt` refuses until the existing credential is
    /// imported; `set` sets a new one over it. Default: `adopt`.
    pub(crate) first: Option<First>,
    /// Deadlines.
    #[serde(default)]
    pub(crate) deadlines: Deadlines,
    /// How many failed logins may be spent on finding out which credential lives.
    #[serde(default)]
    pub(crate) probes: Probes,
}

/// A name in the vault that holds the password of a rotated secret in another form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    /// Its name in the vault. No rotation and no other form has it.
    #[schemars(extend("format" = "keywheel-secret-name"))]
    pub(crate) secret: String,
    /// What it is: `password`, the password alone; `json` or `connection-string`, a text of which the password is replaced and, where it and the secret name a
    /// user, the user, and nothing else.
    pub(crate) format: FormFormat,
    /// With `json` and `connection-string`: the first one, where there is none yet, with `{password}` and `{user}`.
    #[schemars(length(min = 1, max = 4096))]
    pub(crate) template: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormFormat {
    Password,
    Json,
    ConnectionString,
}

/// That a person has to approve each run, whoever has started it but not that one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Approval {
    /// How long a run waits for that, like "24h". Then it ends without having touched anything. Default: 24h.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) expires: Option<String>,
    /// The numbers of the users (`id -u`) who may approve, and only they. Others than the host's own and root reach the running host for that, and to look at
    /// runs, where its socket stands in a folder that lets them through. Default: the host's user and root.
    pub(crate) by: Option<Vec<u32>>,
}

/// A path, relative to the folder of the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-path"))]
pub(crate) struct PathText(pub(crate) String);

/// The text of a label.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-label"))]
pub(crate) struct LabelText(pub(crate) String);

/// A place in a JSON document, like "/username".
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-pointer"))]
pub(crate) struct Pointer(pub(crate) String);

/// The name of a secret in the vault.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "keywheel-secret-name"))]
pub(crate) struct SecretText(pub(crate) String);

/// Somebody who reads the secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumer {
    /// Its name: lower-case letters, digits, `-`.
    #[schemars(extend("format" = "keywheel-name"))]
    pub(crate) name: String,
    /// How long it may go on using a version after a newer one was promoted, like "5m".
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) staleness: String,
    /// How it is told of a new version, and says that it holds it. Default: not at all, and it is waited for as long as `staleness` says.
    pub(crate) hook: Option<hook::Hook>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gap {
    Refuse,
    Accept,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proof {
    Login,
    Deferred,
    Accept,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum First {
    Adopt,
    Set,
}

/// Deadlines.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Deadlines {
    /// Wall clock of one step, at most "15m". Default: `limits.step`.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) step: Option<String>,
    /// How long a run retries what is unreachable before it parks, like "1h". Default: 1h. The pauses between tries count, not the tries
    /// themselves: shorter than `step` it means few tries, each of which may take as long as `step` says.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) run: Option<String>,
}

/// A budget of failed logins, for each account of the target.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probes {
    /// Failed logins at most; each rotation costs one, the proof that the old credential is dead. Default: 5; 60 where the
    /// plugin declares that its target locks no account by itself (`lockout = "none"`: PostgreSQL, Redis). Set it below what
    /// your target locks after, if something of yours makes it lock (PAM, LDAP, an extension).
    #[schemars(range(min = 1, max = 100))]
    pub(crate) logins: Option<u32>,
    /// In this time, like "1h". Default: 1h.
    #[schemars(extend("format" = "keywheel-duration"))]
    pub(crate) per: Option<String>,
}

/// The JSON Schema (2020-12) of `keywheel.toml`.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<File>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: what may be left out is left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| *kind != json!("null"));
                if let [one] = types.as_slice() {
                    map["type"] = one.clone();
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    map.remove("anyOf");
                    map.extend(one);
                }
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
