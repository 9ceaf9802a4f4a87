//! The servers of the demo, an account on each, and logins by the servers' own clients.

use anyhow::ensure;
use keywheel_kit::{
    Postgres, PostgresOptions, Redis, RedisOptions, postgres_pair, postgres_role, random_password, redis_user,
};

/// Longer than the consumer's staleness, and short enough to watch.
const GRACE: &str = "2s";

/// Two servers with one account each.
pub(super) struct Scene {
    pub(super) postgres: Postgres,
    pub(super) redis: Redis,
    /// The role's password before anything was rotated.
    pub(super) role_password: String,
    /// The user's.
    pub(super) user_password: String,
}

impl Scene {
    pub(super) fn start() -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            fsync: true,
            ..PostgresOptions::default()
        })?;
        let redis = Redis::start(RedisOptions::default())?;
        let (role_password, user_password) = (random_password(), random_password());
        postgres.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{role_password}'"))?;
        postgres.sql("CREATE ROLE app_a LOGIN; CREATE ROLE app_b LOGIN")?;
        redis.create_user("app", &user_password)?;
        Ok(Self {
            postgres,
            redis,
            role_password,
            user_password,
        })
    }

    /// `app-db`: the role's secret is `app/db`, the administrator's `admin/db`.
    pub(super) fn postgres_rotation(&self) -> String {
        postgres_role(&self.postgres, GRACE)
    }

    /// `pair-db`: two roles in turn; their secret is one connection string, `pair/db`, of which the first one is made by a template.
    pub(super) fn pair_rotation(&self) -> String {
        let first = postgres_pair(&self.postgres, GRACE).replacen("grace = ", "first = \"set\"\ngrace = ", 1);
        let port = self.postgres.port();
        let template =
            format!("postgresql://{{user}}:{{password}}@localhost:{port}/postgres?application_name=shop");
        format!("{first}format = \"connection-string\"\ntemplate = \"{template}\"\n")
    }

    pub(super) fn string_opens(&self, string: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.postgres.login_by(string)?.is_accepted(),
            "PostgreSQL refuses {what}"
        );
        println!("psql {}: {what} is accepted", without_password(string));
        Ok(())
    }

    pub(super) fn string_is_refused(&self, string: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.postgres.login_by(string)?.is_refused(),
            "PostgreSQL does not refuse {what}"
        );
        println!("psql {}: {what} is refused", without_password(string));
        Ok(())
    }

    /// `app-redis`: the user's secret is `app/redis`, the administrator's `admin/redis`.
    pub(super) fn redis_rotation(&self) -> String {
        redis_user(&self.redis, GRACE)
    }

    pub(super) fn role_opens_with(&self, password: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.postgres.login("app", password)?.is_accepted(),
            "PostgreSQL refuses {what}"
        );
        println!("psql: {what} is accepted");
        Ok(())
    }

    pub(super) fn role_refuses(&self, password: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.postgres.login("app", password)?.is_refused(),
            "PostgreSQL does not refuse {what}"
        );
        println!("psql: {what} is refused");
        Ok(())
    }

    pub(super) fn user_opens_with(&self, password: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.redis.login("app", password)?.is_accepted(),
            "Redis refuses {what}"
        );
        println!("redis-cli: {what} is accepted");
        Ok(())
    }

    pub(super) fn user_refuses(&self, password: &str, what: &str) -> anyhow::Result<()> {
        ensure!(
            self.redis.login("app", password)?.is_refused(),
            "Redis does not refuse {what}"
        );
        println!("redis-cli: {what} is refused");
        Ok(())
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    let shown = url.split_once("://").and_then(|(scheme, rest)| {
        let (user, rest) = rest.split_once(':')?;
        let (_, rest) = rest.split_once('@')?;
        Some(format!("{scheme}://{user}:…@{rest}"))
    });
    shown.unwrap_or_else(|| "…".to_owned())
}
