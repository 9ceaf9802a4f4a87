//! What `bindgen!` makes of `wit/` for the packages that this host offers.
//!
//! One world of the host's own, so that what is offered is read in one place. Packages whose capability is not built
//! are not in it: [`crate::refuse`] answers for them.

#![allow(
    missing_docs,
    clippy::pedantic,
    reason = "generated code; the WIT files carry the documentation"
)]

wasmtime::component::bindgen!({
    path: [
        "../../wit/core", "../../wit/keys", "../../wit/plaintext", "../../wit/vault", "../../wit/http", "../../wit/sql",
        "../../wit/net", "../../wit/challenge", "../../wit/notify", "../../wit/plugin",
    ],
    inline: "
        package keywheel:host;

        world offered {
            include keywheel:core/imports@0.1.0;
            include keywheel:vault/imports@0.1.0;
            include keywheel:sql/imports@0.1.0;
            include keywheel:net/imports@0.1.0;
            include keywheel:http/imports@0.1.0;
            import keywheel:keys/identities@0.1.0;
            import keywheel:plugin/runs@0.1.0;
            export keywheel:plugin/configuration@0.1.0;
            export keywheel:plugin/rotator@0.1.0;
        }
    ",
    world: "keywheel:host/offered",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "keywheel:core/secrets.secret": crate::Handle,
        "keywheel:core/secrets.composer": crate::secrets::Composer,
        "keywheel:core/secrets.password-policy": crate::secrets::PasswordPolicy,
        "keywheel:vault/vault.write": crate::vault::Write,
        "keywheel:vault/certificates.order": crate::vault::Order,
        "keywheel:keys/identities.identity": crate::identities::Identity,
        "keywheel:sql/sql.connector": crate::sql::Connector,
        "keywheel:sql/sql.connection": crate::sql::Connection,
        "keywheel:sql/sql.statement": crate::sql::Statement,
        "keywheel:http/client.request": crate::http::Request,
        "keywheel:http/client.response": crate::http::Response,
        "keywheel:net/tcp.channel": crate::net::Channel,
        "keywheel:net/tcp.tls-options": crate::net::TlsOptions,
        "keywheel:net/frames.frame": crate::net::Frame,
        "keywheel:plugin/runs.run": crate::runs::Run,
    },
    trappable_error_type: { "keywheel:core/types.error" => crate::Error },
});

/// The optional export that lists credentials on the target, found by looking at a component's exports.
pub mod inventory {
    wasmtime::component::bindgen!({
        path: [
            "../../wit/core", "../../wit/keys", "../../wit/plaintext", "../../wit/vault", "../../wit/http", "../../wit/sql",
            "../../wit/net", "../../wit/challenge", "../../wit/notify", "../../wit/plugin",
        ],
        inline: "
            package keywheel:host;

            world listing {
                export keywheel:plugin/inventory@0.1.0;
            }
        ",
        world: "keywheel:host/listing",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "keywheel:core/types": crate::bindings::keywheel::core::types,
            "keywheel:core/secrets": crate::bindings::keywheel::core::secrets,
            "keywheel:plugin/runs": crate::bindings::keywheel::plugin::runs,
        },
    });
}
