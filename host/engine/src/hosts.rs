//! Where a rotation connects to, and how: what the grants open, and what its own configuration says.

use keywheel_config::Rotation;
use keywheel_manifest::Manifest;
use keywheel_model::SocketFolder;
use keywheel_policy::{Binding, Decision, Grant, HostRule, Policy, Request, Transport};

use crate::plan::grants_of;

/// The setting by which a configuration says in words that its target has no TLS, and its word for that: every shipped plugin has it so.
const PLAINTEXT: (&str, &str) = ("transport", "plaintext");

/// Whether a rotation goes to its target in plaintext, as its configuration says, where this grant of its plugin does not allow that.
pub fn wants_plaintext(rotation: &Rotation, manifest: &Manifest, grant: &Grant) -> bool {
    let Ok(policy) = Policy::of(vec![grant.clone()]) else {
        return false;
    };
    in_plaintext(&policy, rotation, manifest)
        .iter()
        .any(|node| !node.is_granted)
}

/// The hosts that the grants open to this rotation, with the values of its configuration. A grant for it alone narrows the plugin's own. Where the
/// rotation goes in plaintext that is said, whatever a grant says.
pub(crate) fn of_plan(policy: &Policy, rotation: &Rotation, manifest: &Manifest) -> Vec<String> {
    let rules: Vec<_> = grants_of(policy, rotation)
        .flat_map(|grant| &grant.hosts)
        .collect();
    // A rule for servers that a rotation need not have says something only where it is all that there is.
    let opens_some = |rule: &HostRule| rule.opens_some(&rotation.config);
    let none_opens = !rules.iter().any(|rule| opens_some(rule));
    let shown = rules.into_iter().filter(|rule| none_opens || opens_some(rule));
    let mut hosts: Vec<String> = shown.flat_map(|rule| rule.explain(&rotation.config)).collect();
    for node in in_plaintext(policy, rotation, manifest) {
        let place = format!("{} port {}", node.host, node.port);
        hosts.retain(|host| {
            host.strip_prefix(&place)
                .is_none_or(|word| !word.starts_with(' '))
        });
        hosts.push(if node.is_granted {
            format!("{place} plaintext")
        } else {
            format!("{place} plaintext (not granted: no secret is sent there)")
        });
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// A server that a rotation goes to in plaintext.
struct Node {
    host: String,
    port: u16,
    is_granted: bool,
}

fn in_plaintext(policy: &Policy, rotation: &Rotation, manifest: &Manifest) -> Vec<Node> {
    let (key, word) = PLAINTEXT;
    if rotation.config.get(key).and_then(serde_json::Value::as_str) != Some(word) {
        return Vec::new();
    }
    let scope = policy.scope(Binding {
        plugin: &rotation.plugin,
        rotation: &rotation.name,
        configuration: &rotation.config,
        secret: &rotation.secret,
        inputs: &rotation.inputs,
    });
    let nodes = manifest.nodes(&rotation.config).into_iter();
    let servers = nodes.chain(manifest.replicas(&rotation.config));
    servers
        .filter(|server| !SocketFolder::is_meant(server))
        .filter_map(|node| {
            let (host, port) = node.rsplit_once(':')?;
            let port = port.parse().ok()?;
            let transport = Transport::Plaintext;
            let decision = scope.decide(Request::Connect {
                host,
                port,
                transport,
            });
            Some(Node {
                host: host.to_owned(),
                port,
                is_granted: matches!(decision, Decision::Allow(_)),
            })
        })
        .collect()
}
