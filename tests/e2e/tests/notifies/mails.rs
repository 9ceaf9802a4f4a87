//! Mail, by a server of other people's making.

use keywheel_e2e::{Host, until};
use serde_json::json;

use crate::receiver::Mailbox;
use crate::served::{Serving, configure_first, sink, write};

fn email(mailbox: &Mailbox) -> String {
    format!(
        "{}[[notify]]\nname = \"mail\"\nkind = \"email\"\nserver = \"localhost:{}\"\ntrust = \"mail\"\nuser = \"keywheel\"\n\
         password = {{ secret = \"notify/mail\" }}\nfrom = \"Keywheel <keywheel@kw.example>\"\nto = [\"ops@kw.example\", \"Zoë <zoe@kw.example>\"]\n\
         title = \"[prod] {{title}}\"\nabout = [\"attention\", \"events\"]\n\n",
        mailbox.trust(),
        mailbox.port
    )
}

#[test]
fn mail_goes_by_starttls_with_a_login_and_is_one_thread() {
    let Some(mailbox) = Mailbox::start("starttls") else {
        return;
    };
    let host = Host::init();
    configure_first(&host, &email(&mailbox));
    let _ = host.import("notify/mail", "planted-a-wrong-password").ends(0);
    let tried = host
        .run(&["notify", "test", "mail", "-o", "json"], "")
        .ends(10)
        .json();
    assert_eq!(
        tried[0]["failed"], "notify.gone: it takes no notice at all (535)",
        "{tried:#}"
    );
    let _ = host.import("notify/mail", &mailbox.password).ends(0);
    let body = json!({
        "kind": "run-failed", "subject": "rotation app-db", "what": "it failed: größer\r\nBcc: evil@kw.example", "way-out": "look", "labels": {},
    });
    let key = "rotation app-db: run-failed";
    write(
        &host,
        &[
            ("attention", key, body.clone()),
            ("attention-resolved", key, body),
        ],
    );
    let serving = Serving::start(&host);
    until("both came", || mailbox.mails().len() == 2);
    let mails = mailbox.mails();
    for mail in &mails {
        assert_eq!(mail["from"], "keywheel@kw.example", "{mail:#}");
        assert_eq!(mail["to"], json!(["ops@kw.example", "zoe@kw.example"]));
        assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!("keywheel")));
        assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
        assert_eq!(mail["headers"]["References"], mails[0]["headers"]["References"]);
        assert!(mail["headers"]["Bcc"].is_null(), "{mail:#}");
    }
    assert_eq!(
        mails[0]["headers"]["Subject"],
        "[error] [prod] rotation app-db: run failed"
    );
    assert_eq!(
        mails[1]["headers"]["Subject"],
        "[prod] Over: rotation app-db: run failed"
    );
    assert_ne!(
        mails[0]["headers"]["Message-ID"],
        mails[1]["headers"]["Message-ID"]
    );
    let text = mails[0]["body"].as_str().unwrap();
    assert!(
        text.contains("größer") && text.contains("What to do: look"),
        "{text}"
    );
    let ended = serving.ends();
    let secrets = [mailbox.password.clone(), "planted-a-wrong-password".to_owned()];
    host.left_no_trace(&secrets, &[("the log", &ended.stderr)]);
}

/// Nothing is sent over a connection that others can read.
#[test]
fn no_mail_goes_without_tls() {
    let Some(mailbox) = Mailbox::start("plain") else {
        return;
    };
    let host = Host::init();
    configure_first(&host, &email(&mailbox));
    let _ = host.import("notify/mail", &mailbox.password).ends(0);
    let tried = host
        .run(&["notify", "test", "mail", "-o", "json"], "")
        .ends(10)
        .json();
    let failed = tried[0]["failed"].as_str().unwrap();
    assert!(
        failed.starts_with("notify.unreachable: ") && failed.contains("STARTTLS"),
        "{failed}"
    );
    assert_eq!(mailbox.mails().len(), 0);
    assert!(
        sink(&host, "mail")["failing"].is_null(),
        "a try is no failure of the sink's"
    );
}
