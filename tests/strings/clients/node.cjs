// Logs in by connection strings: each line of standard input is a client and a string in base64; each answer one line.
const fs = require('node:fs');
const readline = require('node:readline');

const ca = fs.readFileSync(process.argv[2], 'utf8');

async function byPg(connectionString) {
    const { Client } = require('pg');
    const session = new Client({ connectionString, connectionTimeoutMillis: 20000 });
    await session.connect();
    await session.query('SELECT 1');
    await session.end();
}

async function byMysql2(uri) {
    const session = await require('mysql2/promise').createConnection({ uri, ssl: { ca }, connectTimeout: 20000 });
    await session.query('SELECT 1');
    await session.end();
}

async function byRedis(url) {
    const session = require('redis').createClient({ url, socket: { ca, connectTimeout: 20000, reconnectStrategy: false } });
    session.on('error', () => {});
    await session.connect();
    await session.ping();
    await session.close();
}

async function byMssql(string) {
    const { ConnectionPool } = require('mssql');
    const pool = new ConnectionPool(string);
    await pool.connect();
    await pool.request().query('SELECT SUSER_SNAME()');
    await pool.close();
}

const clients = { 'node-postgres': byPg, mysql2: byMysql2, 'node-redis': byRedis, 'node-mssql': byMssql };

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [client, string] = line.split(' ');
        try {
            await clients[client](Buffer.from(string, 'base64').toString('utf8'));
            console.log('ok');
        } catch (refused) {
            console.log(`no ${refused.name} ${String(refused.message).replaceAll(/\s+/g, ' ')}`);
        }
    }
    process.exit(0);
})();
