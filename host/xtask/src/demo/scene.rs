//! The servers of the demo, an account on each, and logins by the servers' own clients.

use anyhow::ensure;
use keywheel_kit::{
    Postgres, PostgresOptions, Redis, RedisOptions, postgres_role, random_password, redis_user,
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
