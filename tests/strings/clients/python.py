"""Logs in by connection strings: each line of standard input is a client and a string in base64; each answer one line."""
import asyncio
import base64
import sys

authority = sys.argv[1]


def by_psycopg(string):
    import psycopg
    with psycopg.connect(string, connect_timeout=20) as session:
        session.execute("SELECT 1")


def by_asyncpg(string):
    import asyncpg

    async def once():
        session = await asyncpg.connect(string, timeout=20)
        await session.execute("SELECT 1")
        await session.close()
    asyncio.run(once())


def by_sqlalchemy(string):
    import sqlalchemy
    engine = sqlalchemy.create_engine(string, connect_args={"ssl": {"ca": authority}, "connect_timeout": 20})
    with engine.connect() as session:
        session.execute(sqlalchemy.text("SELECT 1"))
    engine.dispose()


def by_redis(string):
    import redis
    session = redis.Redis.from_url(string, ssl_ca_certs=authority, socket_timeout=20)
    session.ping()
    session.close()


def by_odbc(string):
    import pyodbc
    pyodbc.pooling = False
    session = pyodbc.connect(string, timeout=20)
    session.execute("SELECT 1")
    session.close()


clients = {"psycopg": by_psycopg, "asyncpg": by_asyncpg, "sqlalchemy": by_sqlalchemy, "redis-py": by_redis,
           "odbc": by_odbc}
for line in sys.stdin:
    client, string = line.split()
    try:
        clients[client](base64.b64decode(string).decode())
        print("ok", flush=True)
    except Exception as refused:
        print("no", type(refused).__name__, " ".join(str(refused).split()), flush=True)
