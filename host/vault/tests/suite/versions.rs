use keywheel_audit::Entry;
use keywheel_model::{Stage, VersionId};
use keywheel_store::AuditFilter;
use keywheel_vault::{Author, Error, Origin, Output, Pending, Promotion, Rider, Vault};

use crate::{Home, MINUTE, name, pending, text, value};

fn promotion(of: &str, pending: &VersionId, current: Option<&VersionId>) -> Promotion {
    Promotion {
        name: name(of),
        pending: pending.clone(),
        expected_current: current.cloned(),
        also: Vec::new(),
    }
}

/// Stores and promotes a value in a run of its own.
pub(crate) async fn rotate(home: &Home, run: u64, of: &str, text: &str) -> VersionId {
    let by = home.author(run, &[of]).await;
    let current = home
        .vault
        .head(&name(of))
        .await
        .expect("head")
        .current()
        .map(|version| version.id.clone());
    let id = home
        .vault
        .put_pending(&by, pending(of, text), Rider::none())
        .await
        .expect("pending");
    home.vault
        .promote(&by, promotion(of, &id, current.as_ref()), Rider::none())
        .await
        .expect("promote");
    home.release(&by).await;
    id
}

async fn stages(home: &Home, of: &str) -> Vec<Stage> {
    home.vault
        .head(&name(of))
        .await
        .expect("head")
        .versions
        .iter()
        .map(|version| version.stage)
        .collect()
}

#[tokio::test]
async fn a_pending_value_becomes_current_and_the_old_one_is_kept() {
    let home = Home::new().await;
    let first = rotate(&home, 1, "app/db", "one").await;
    let second = rotate(&home, 2, "app/db", "two").await;
    let head = home.vault.head(&name("app/db")).await.expect("head");
    assert_eq!(head.current().map(|version| &version.id), Some(&second));
    assert_eq!(head.previous().map(|version| &version.id), Some(&first));
    assert_eq!(
        text(&home.vault.read(&name("app/db"), &first).await.expect("old value")),
        "one"
    );
    let history = home.vault.history(&name("app/db")).await.expect("history");
    let history: Vec<_> = history
        .iter()
        .map(|change| (change.number, change.stage))
        .collect();
    let expected = [
        (1, Stage::Pending),
        (1, Stage::Current),
        (2, Stage::Pending),
        (1, Stage::Previous),
        (2, Stage::Current),
    ];
    assert_eq!(history, expected);
    assert_eq!(home.vault.names().await.expect("names"), [name("app/db")]);
}

#[tokio::test]
async fn a_run_that_repeats_itself_gets_its_version_and_another_value_conflicts() {
    let home = Home::new().await;
    let by = home.author(1, &["db"]).await;
    let id = home
        .vault
        .put_pending(&by, pending("db", "one"), Rider::none())
        .await
        .expect("first");
    let again = home
        .vault
        .put_pending(&by, pending("db", "one"), Rider::none())
        .await
        .expect("repeated");
    assert_eq!(again, id);
    let other = home
        .vault
        .put_pending(&by, pending("db", "two"), Rider::none())
        .await
        .expect_err("another value");
    assert_eq!(other.code(), "vault.pending-exists");

    home.vault
        .promote(&by, promotion("db", &id, None), Rider::none())
        .await
        .expect("promote");
    home.vault
        .promote(&by, promotion("db", &id, None), Rider::none())
        .await
        .expect("repeated");
    let late = home
        .vault
        .put_pending(&by, pending("db", "one"), Rider::none())
        .await
        .expect("repeated late");
    assert_eq!((late, stages(&home, "db").await), (id, vec![Stage::Current]));
}

#[tokio::test]
async fn a_pending_version_of_another_run_is_not_replaced_and_promoted_by_whoever_holds_the_secret() {
    let home = Home::new().await;
    let first = home.author(1, &["db"]).await;
    let id = home
        .vault
        .put_pending(&first, pending("db", "one"), Rider::none())
        .await
        .expect("pending");
    home.release(&first).await;
    let second = home.author(2, &["db"]).await;
    let error = home
        .vault
        .put_pending(&second, pending("db", "one"), Rider::none())
        .await
        .expect_err("not ours");
    assert_eq!(error.code(), "vault.pending-exists");
    home.vault
        .promote(&first, promotion("db", &id, None), Rider::none())
        .await
        .expect_err("it has given the secret back");
    assert_eq!(stages(&home, "db").await, [Stage::Pending]);
    home.vault
        .promote(&second, promotion("db", &id, None), Rider::none())
        .await
        .expect("taken over");
    assert_eq!(stages(&home, "db").await, [Stage::Current]);
}

#[tokio::test]
async fn an_import_is_promoted_by_the_run_that_proved_it() {
    let home = Home::new().await;
    let importer = home.author(1, &["db"]).await;
    let mut import = pending("db", "existing");
    import
        .secret
        .metadata
        .annotations
        .insert("user".to_owned(), "app".to_owned());
    let id = home
        .vault
        .import(&importer, import, Rider::none())
        .await
        .expect("import");
    home.release(&importer).await;
    let head = home.vault.head(&name("db")).await.expect("head");
    let stored = head.pending().expect("pending, not current");
    assert_eq!(stored.metadata.labels.origin, Origin::Imported);
    assert_eq!(
        stored.metadata.annotations.get("user").map(String::as_str),
        Some("app")
    );
    let adopter = home.author(2, &["db"]).await;
    home.vault
        .promote(&adopter, promotion("db", &id, None), Rider::none())
        .await
        .expect("adopted");
}

#[tokio::test]
async fn a_head_that_moved_is_not_promoted_over() {
    let home = Home::new().await;
    let first = rotate(&home, 1, "db", "one").await;
    let second = rotate(&home, 2, "db", "two").await;
    let by = home.author(3, &["db"]).await;
    let id = home
        .vault
        .put_pending(&by, pending("db", "three"), Rider::none())
        .await
        .expect("pending");
    for believed in [Some(&first), None] {
        match home
            .vault
            .promote(&by, promotion("db", &id, believed), Rider::none())
            .await
        {
            Err(Error::HeadMoved { found, .. }) => assert_eq!(found.as_ref(), Some(&second)),
            other => panic!("expected a moved head, got {other:?}"),
        }
    }
    assert_eq!(
        stages(&home, "db").await,
        [Stage::Pending, Stage::Current, Stage::Previous]
    );
}

#[tokio::test]
async fn every_change_under_a_dead_fence_is_refused() {
    let home = Home::new().await;
    let current = rotate(&home, 1, "db", "one").await;
    let by = home.author(2, &["db"]).await;
    let id = home
        .vault
        .put_pending(&by, pending("db", "two"), Rider::none())
        .await
        .expect("pending");
    home.clock
        .advance(u64::try_from(MINUTE.as_millis()).expect("a minute"));
    assert_all_refused(&home, &by, &id, &current).await;
    home.release(&by).await;
    home.author(3, &["db"]).await;
    assert_all_refused(&home, &by, &id, &current).await;
    assert_eq!(stages(&home, "db").await, [Stage::Pending, Stage::Current]);
}

async fn assert_all_refused(home: &Home, by: &Author, id: &VersionId, current: &VersionId) {
    let (vault, db, none) = (&home.vault, name("db"), Rider::none);
    let output = || Output {
        name: name("db-url"),
        secret: value("url"),
    };
    let results = [
        vault
            .put_pending(by, pending("db", "two"), none())
            .await
            .map(|_| ()),
        vault.put_output(by, &db, id, output(), none()).await.map(|_| ()),
        vault.import(by, pending("db", "x"), none()).await.map(|_| ()),
        vault
            .promote(by, promotion("db", id, Some(current)), none())
            .await,
        vault.abandon(by, &db, id, none()).await,
        vault.revoke(by, &db, current, none()).await,
        vault
            .roll_back(by, &db, current, Some(current), Vec::new(), none())
            .await
            .map(|_| ()),
        vault.annotate(by, &db, id, "k", "v", none()).await,
        vault.put_escrow(by, "k", value("x"), none()).await,
        vault.remove_escrow(by, "k", none()).await,
        vault.put_state(by, "k", value("x"), none()).await,
        vault.remove_state(by, "k", none()).await,
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(
            result.expect_err("a dead fence").code(),
            "store.stale-fence",
            "call {number}"
        );
    }
}

#[tokio::test]
async fn a_name_that_another_run_holds_is_left_alone() {
    let home = Home::new().await;
    home.author(1, &["db"]).await;
    let other = home.author(2, &["elsewhere"]).await;
    let error = home
        .vault
        .put_pending(&other, pending("db", "x"), Rider::none())
        .await
        .expect_err("held");
    assert_eq!(error.code(), "store.lease-held");
}

#[tokio::test]
async fn what_may_have_landed_is_abandoned_and_kept() {
    let home = Home::new().await;
    let current = rotate(&home, 1, "db", "one").await;
    let by = home.author(2, &["db"]).await;
    let id = home
        .vault
        .put_pending(&by, pending("db", "two"), Rider::none())
        .await
        .expect("pending");
    let revoked = home
        .vault
        .revoke(&by, &name("db"), &id, Rider::none())
        .await
        .expect_err("pending");
    assert_eq!(revoked.code(), "vault.stage");
    home.vault
        .abandon(&by, &name("db"), &id, Rider::none())
        .await
        .expect("abandon");
    home.vault
        .abandon(&by, &name("db"), &id, Rider::none())
        .await
        .expect("repeated");
    assert_eq!(
        text(&home.vault.read(&name("db"), &id).await.expect("kept")),
        "two"
    );
    let promoted = home
        .vault
        .promote(&by, promotion("db", &id, Some(&current)), Rider::none())
        .await;
    assert_eq!(promoted.expect_err("abandoned").code(), "vault.stage");
    home.vault
        .revoke(&by, &name("db"), &id, Rider::none())
        .await
        .expect("proved dead");
    let error = home
        .vault
        .revoke(&by, &name("db"), &current, Rider::none())
        .await
        .expect_err("current");
    assert_eq!(error.code(), "vault.stage");
    assert_eq!(
        text(
            &home
                .vault
                .read(&name("db"), &id)
                .await
                .expect("kept for a horizon")
        ),
        "two"
    );
}

#[tokio::test]
async fn outputs_go_with_their_version() {
    let home = Home::new().await;
    rotate(&home, 1, "db-url", "old url").await;
    let by = home.author(2, &["db", "db-url"]).await;
    let output = |text| Output {
        name: name("db-url"),
        secret: value(text),
    };
    let both = Pending {
        outputs: vec![output("new url")],
        ..pending("db", "new")
    };
    let id = home
        .vault
        .put_pending(&by, both, Rider::none())
        .await
        .expect("pending");
    let url = home
        .vault
        .put_output(&by, &name("db"), &id, output("new url"), Rider::none())
        .await
        .expect("repeated");
    let other = home
        .vault
        .put_output(&by, &name("db"), &id, output("another"), Rider::none())
        .await;
    assert_eq!(other.expect_err("another value").code(), "vault.pending-exists");
    home.vault
        .promote(&by, promotion("db", &id, None), Rider::none())
        .await
        .expect("promote");
    let head = home.vault.head(&name("db-url")).await.expect("head");
    assert_eq!(head.current().map(|version| &version.id), Some(&url));
    assert_eq!(stages(&home, "db-url").await, [Stage::Current, Stage::Previous]);
}

#[tokio::test]
async fn a_rollback_is_a_new_version_with_old_material() {
    let home = Home::new().await;
    let first = rotate(&home, 1, "db", "one").await;
    let second = rotate(&home, 2, "db", "two").await;
    let by = home.author(3, &["db"]).await;
    let back = home
        .vault
        .roll_back(&by, &name("db"), &first, Some(&second), Vec::new(), Rider::none())
        .await
        .expect("back");
    let again = home
        .vault
        .roll_back(&by, &name("db"), &first, Some(&second), Vec::new(), Rider::none())
        .await
        .expect("repeated");
    assert_eq!(back, again);
    assert_eq!(
        stages(&home, "db").await,
        [Stage::Current, Stage::Previous, Stage::Previous]
    );
    assert_eq!(
        text(&home.vault.read(&name("db"), &back).await.expect("value")),
        "one"
    );
    let head = home.vault.head(&name("db")).await.expect("head");
    assert_eq!(
        head.current().and_then(|version| version.material_of.as_ref()),
        Some(&first)
    );
    home.release(&by).await;

    let by = home.author(4, &["db"]).await;
    let twice = home
        .vault
        .roll_back(&by, &name("db"), &back, Some(&back), Vec::new(), Rider::none())
        .await
        .expect("of a rollback");
    assert_eq!(
        text(&home.vault.read(&name("db"), &twice).await.expect("value")),
        "one"
    );
    home.vault
        .put_pending(&by, pending("db", "three"), Rider::none())
        .await
        .expect("pending");
    let error = home
        .vault
        .roll_back(&by, &name("db"), &second, Some(&twice), Vec::new(), Rider::none())
        .await
        .expect_err("pending");
    assert_eq!(error.code(), "vault.stage");
}

#[tokio::test]
async fn vault_journal_and_audit_are_kept_together_or_not_at_all() {
    let home = Home::new().await;
    let by = home.author(1, &["db", "other"]).await;
    let failing = Rider::new(|tx| {
        tx.audit(&Entry::of_host("secret.pending", "db", "ok"))?;
        Err(keywheel_store::Error::NotFound {
            what: "the rest".to_owned(),
        })
    });
    let error = home
        .vault
        .put_pending(&by, pending("db", "one"), failing)
        .await
        .expect_err("the rider failed");
    assert_eq!(error.code(), "store.not-found");
    assert!(stages(&home, "db").await.is_empty());

    let (vault, author) = (home.vault.clone(), by.clone());
    let promoted = home.vault.store().write(move |tx| {
        let first = vault.put_pending_in(tx, &author, &pending("db", "one"))?;
        vault.put_pending_in(tx, &author, &pending("other", "two"))?;
        vault.promote_in(tx, &author, &promotion("db", &first, None))?;
        tx.audit(&Entry::of_host("secret.promote", "db", "ok").in_run(&author.run))?;
        Ok::<_, Error>(first)
    });
    let promoted = promoted.await.expect("all of it");
    assert_eq!(
        home.vault
            .head(&name("db"))
            .await
            .expect("head")
            .current()
            .map(|v| &v.id),
        Some(&promoted)
    );
    assert_eq!(stages(&home, "other").await, [Stage::Pending]);
    let rows = home
        .vault
        .store()
        .read(|reader| reader.audit_rows(&AuditFilter::default(), 9))
        .await
        .expect("rows");
    assert_eq!(rows.len(), 1, "the row of the failed change is gone");
    assert!(rows[0].seal.is_some(), "an open vault seals the trail");
}

#[tokio::test]
async fn an_older_value_is_put_back_as_a_pending_version_of_its_run() {
    let home = Home::new().await;
    let first = rotate(&home, 1, "db", "one").await;
    let second = rotate(&home, 2, "db", "two").await;
    let by = home.author(3, &["db"]).await;
    let put = async |to: VersionId| {
        home.vault
            .put_back(&by, &name("db"), &to, Vec::new(), Rider::none())
            .await
    };
    let back = put(first.clone()).await.expect("put back");
    assert_eq!(put(first.clone()).await.expect("repeated"), back);
    assert_eq!(
        stages(&home, "db").await,
        [Stage::Pending, Stage::Current, Stage::Previous]
    );
    let value = home.vault.read(&name("db"), &back).await.expect("value");
    assert_eq!(text(&value), "one");
    let other = put(second.clone()).await.expect_err("beside another one");
    assert_eq!(other.code(), "vault.stage");
    let promotion = Promotion {
        name: name("db"),
        pending: back,
        expected_current: Some(second),
        also: Vec::new(),
    };
    home.vault
        .promote(&by, promotion, Rider::none())
        .await
        .expect("promote");
    assert_eq!(
        stages(&home, "db").await,
        [Stage::Current, Stage::Previous, Stage::Previous]
    );
}
