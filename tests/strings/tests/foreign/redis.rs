//! Redis, whose users have no spaces in their names.

use keywheel_connection_string::Form;
use keywheel_kit::{Redis, RedisOptions};
use keywheel_strings::Language;

use crate::scene::{Login, Template, logins, try_all};

fn by_url(language: Language, client: &'static str) {
    let server = Redis::start(RedisOptions::default()).unwrap();
    let logins: Vec<Login> = logins()
        .into_iter()
        .map(|login| Login {
            user: login.user.replace(' ', "_"),
            password: login.password,
        })
        .collect();
    for login in &logins {
        server.create_user(&login.user, &login.password).unwrap();
    }
    let url = format!("rediss://u:p@localhost:{}/0", server.port());
    let template = Template::new(Form::Url, url);
    try_all(
        language,
        &server.ca_file(),
        &[(client, &[Form::Url])],
        &[template],
        &logins,
    );
}

#[test]
fn python() {
    by_url(Language::Python, "redis-py");
}

#[test]
fn node() {
    by_url(Language::Node, "node-redis");
}

#[test]
fn go() {
    by_url(Language::Go, "go-redis");
}
