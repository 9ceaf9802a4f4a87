use keywheel_model::VersionId;
use keywheel_vault::{Rider, Vault as _};

use crate::versions::rotate;
use crate::{Home, name};

/// What a run and the keeper read does not grow with what a secret has been.
#[tokio::test]
async fn what_lives_of_a_name_is_few_however_many_versions_it_has_had() {
    let home = Home::new().await;
    let secret = name("app/db");
    for number in 1..=40 {
        let _ = rotate(&home, number, "app/db", &format!("value {number}")).await;
        let by = home.author(1000 + number, &["app/db"]).await;
        let previous = home.vault.live(&secret, &[]).await.expect("live");
        if let Some(previous) = previous.previous().map(|version| version.id.clone()) {
            let revoked = home.vault.revoke(&by, &secret, &previous, Rider::none()).await;
            revoked.expect("revoked");
        }
        home.release(&by).await;
    }
    let all = home.vault.head(&secret).await.expect("head");
    assert_eq!(all.versions.len(), 40);
    let ids = |head: &keywheel_vault::Head| {
        let ids = head.versions.iter().map(|version| version.id.clone());
        ids.collect::<Vec<_>>()
    };
    let live = home.vault.live(&secret, &[]).await.expect("live");
    assert_eq!(ids(&live), [all.versions[0].id.clone()]);
    // One that is asked for is there, and so is whatever has its value: who looks at the newest of these sees what the whole head shows.
    let third = all.versions[37].id.clone();
    let live = home
        .vault
        .live(&secret, std::slice::from_ref(&third))
        .await
        .expect("live");
    assert_eq!(ids(&live), [all.versions[0].id.clone(), third.clone()]);
    let by = home.author(3000, &["app/db"]).await;
    let current = all.current().map(|version| version.id.clone());
    let again = home
        .vault
        .roll_back(&by, &secret, &third, current.as_ref(), Vec::new(), Rider::none())
        .await
        .expect("back");
    home.release(&by).await;
    let live = home.vault.live(&secret, &[]).await.expect("live");
    assert_eq!(ids(&live), [again, all.versions[0].id.clone(), third]);
    let other = VersionId::from_number(7);
    let live = home.vault.live(&name("no/such"), &[other]).await.expect("live");
    assert_eq!(live.versions, []);
}

/// By an index that has no other rows, and so without reading them.
#[tokio::test]
async fn the_rows_of_what_lives_are_found_without_a_look_at_the_others() {
    let home = Home::new().await;
    let _ = rotate(&home, 1, "app/db", "one").await;
    let database = rusqlite::Connection::open(home.vault.store().path()).expect("a second connection");
    let plan = |sql: &str| -> String {
        let mut statement = database
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("plan");
        let lines = statement
            .query_map([], |row| row.get::<_, String>(3))
            .expect("lines");
        lines.map(|line| line.expect("line")).collect()
    };
    let live = plan(
        "SELECT id, meta FROM version WHERE secret = 'app/db' AND stage <> 'revoked' ORDER BY number DESC",
    );
    assert!(live.contains("USING INDEX version_live"), "{live}");
    let same = plan("SELECT id, meta FROM version WHERE material_of = 'ver-x'");
    assert!(same.contains("USING INDEX version_same_value"), "{same}");
    let current = plan("SELECT id FROM version WHERE secret = 'app/db' AND stage = 'current'");
    assert!(
        current.contains("version_current") || current.contains("version_live"),
        "{current}"
    );
}
