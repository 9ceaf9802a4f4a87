//! What `wit-bindgen` makes of `wit/`. Unsafe code of the generator's; nothing is written by hand here.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used
)]

wit_bindgen::generate!({
    path: [
        "../../wit/core", "../../wit/keys", "../../wit/plaintext", "../../wit/vault", "../../wit/http", "../../wit/sql",
        "../../wit/net", "../../wit/challenge", "../../wit/notify", "../../wit/plugin",
    ],
    world: "keywheel:plugin/rotator-plugin",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "keywheel_sdk::bindings",
});
