//! What lies beside the versions' values: escrow, secret state, labels, limits.

use keywheel_model::SecretBytes;
use keywheel_vault::{Metadata, Origin, Rider, Vault};

use crate::{Home, name, pending, text, value};

#[tokio::test]
async fn an_escrow_never_loses_an_older_capture() {
    let home = Home::new().await;
    let by = home.author(1, &[]).await;
    assert!(
        home.vault
            .put_escrow(&by, "key", value("x"), Rider::none())
            .await
            .is_err(),
        "no lease, no fence"
    );
    let by = home.author(2, &["db"]).await;
    for text in ["issued-1", "issued-1", "issued-2"] {
        home.vault
            .put_escrow(&by, "key", value(text), Rider::none())
            .await
            .expect("escrow");
    }
    let keys = home.vault.escrows(Some(&by.run)).await.expect("list");
    let keys: Vec<_> = keys.into_iter().map(|escrowed| escrowed.key).collect();
    assert_eq!(keys, ["key", "key~1"]);
    for (key, expected) in [("key", "issued-2"), ("key~1", "issued-1")] {
        let found = home
            .vault
            .escrow(&by.run, key)
            .await
            .expect("escrow")
            .expect("there");
        assert_eq!(text(&found.value), expected);
    }
    home.vault
        .remove_escrow(&by, "key", Rider::none())
        .await
        .expect("remove");
    home.vault
        .remove_escrow(&by, "key", Rider::none())
        .await
        .expect("repeated");
    assert!(home.vault.escrow(&by.run, "key").await.expect("escrow").is_none());
}

#[tokio::test]
async fn secret_state_is_replaced_and_keeps_its_labels() {
    let home = Home::new().await;
    let by = home.author(1, &["db"]).await;
    let mut tainted = value("slot-image");
    tainted.metadata.labels.tainted = true;
    home.vault
        .put_state(&by, "image", value("older"), Rider::none())
        .await
        .expect("state");
    home.vault
        .put_state(&by, "image", tainted, Rider::none())
        .await
        .expect("state");
    let found = home
        .vault
        .state(&by.run, "image")
        .await
        .expect("state")
        .expect("there");
    assert!(found.metadata.labels.tainted);
    assert_eq!(text(&found.value), "slot-image");
    assert!(
        home.vault
            .escrow(&by.run, "image")
            .await
            .expect("escrow")
            .is_none(),
        "another kind"
    );
    home.vault
        .remove_state(&by, "image", Rider::none())
        .await
        .expect("remove");
    assert!(home.vault.state(&by.run, "image").await.expect("state").is_none());
}

#[tokio::test]
async fn what_is_known_of_a_value_comes_back_with_it() {
    let home = Home::new().await;
    let by = home.author(1, &["db"]).await;
    let mut known = pending("db", "one");
    known.secret.metadata = Metadata {
        media_type: "application/json".to_owned(),
        ..Metadata::text(Origin::Composed)
    };
    let expected = known.secret.metadata.clone();
    let id = home
        .vault
        .put_pending(&by, known, Rider::none())
        .await
        .expect("pending");
    home.vault
        .annotate(&by, &name("db"), &id, "serial", "07", Rider::none())
        .await
        .expect("annotate");
    let head = home.vault.head(&name("db")).await.expect("head");
    let found = &head.pending().expect("pending").metadata;
    assert_eq!(found.labels, expected.labels);
    assert!(found.labels.composed);
    assert_eq!(found.media_type, "application/json");
    assert_eq!(found.annotations.get("serial").map(String::as_str), Some("07"));
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused() {
    let home = Home::new().await;
    let by = home.author(1, &["db"]).await;
    let mut large = pending("db", "");
    large.secret.value = SecretBytes::new(vec![b'x'; home.vault.capabilities().value_limit + 1]);
    let error = home
        .vault
        .put_pending(&by, large, Rider::none())
        .await
        .expect_err("too large");
    assert_eq!(error.code(), "vault.too-large");
}
