//! API keys of vendors, each on a small server of our own that is as strict as the vendor's documents: one table of cases for all, and what is a
//! vendor's own beside it.

#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and its helpers are its own"
)]

mod cases;
mod cloudflare;
mod datadog;
mod gitlab;
mod grafana;
mod scene;
mod twilio;

/// All at once: they wait for the most part, for the grace and for what a vendor believes late.
#[test]
fn a_key_of_each_vendor_lives_and_dies() {
    std::thread::scope(|scope| {
        for (facts, more) in [
            (&cloudflare::FACTS, ""),
            (&datadog::FACTS, ""),
            (&gitlab::FACTS, gitlab::PROJECT),
            (&grafana::FACTS, ""),
            (&twilio::FACTS, ""),
        ] {
            let thread = std::thread::Builder::new().name(facts.plugin.to_owned());
            thread
                .spawn_scoped(scope, move || cases::all(facts, more))
                .unwrap();
        }
    });
}
