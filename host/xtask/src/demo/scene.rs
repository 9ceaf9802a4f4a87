//! The servers of the demo, an account on each, and logins by the servers' own clients.

use anyhow::ensure;
use keywheel_kit::{Postgres, PostgresOptions, Redis, RedisOptions, random_password};

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
        redis.create_user("app", &user_password)?;
        Ok(Self {
            postgres,
            redis,
            role_password,
            user_password,
        })
    }

    pub(super) fn trust(&self) -> String {
        format!(
            "[trust.postgres]\npem = [\"{}\"]\n\n[trust.redis]\npem = [\"{}\"]\n",
            self.postgres.ca_file().display(),
            self.redis.ca_file().display()
        )
    }

    pub(super) fn postgres_rotation(&self) -> String {
        format!(
            r#"
[[rotation]]
name = "app-db"
plugin = "postgres"
secret = "app/db"
inputs = {{ admin = "admin/db" }}
grace = "2s"
gap = "accept"
deadlines = {{ step = "4s" }}
consumers = [{{ name = "shop", staleness = "1s" }}]

[rotation.config]
mode = "role"
host = "{}"
port = {}
trust = "postgres"
admin = "{}"
role = "app"
"#,
            self.postgres.host(),
            self.postgres.port(),
            self.postgres.admin_user()
        )
    }

    pub(super) fn redis_rotation(&self) -> String {
        format!(
            r#"
[[rotation]]
name = "app-cache"
plugin = "redis"
secret = "app/cache"
inputs = {{ admin = "admin/cache" }}
grace = "2s"
deadlines = {{ step = "4s" }}
consumers = [{{ name = "shop", staleness = "1s" }}]

[rotation.config]
nodes = [{{ host = "{}", port = {} }}]
trust = "redis"
admin = "{}"
user = "app"
"#,
            self.redis.host(),
            self.redis.port(),
            self.redis.admin_user()
        )
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
