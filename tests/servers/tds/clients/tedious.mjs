// tedious: `tedious.mjs PORT MODE CA SA_PASSWORD STATEMENTS`.
import { createRequire } from "node:module";
import fs from "node:fs";
const require = createRequire(process.cwd() + "/");
const { Connection, Request, TYPES } = require("tedious");

const [port, mode, ca, password, statements] = process.argv.slice(2);
const encrypt = { none: false, tls: true, strict: "strict" }[mode];

function connect(userName, word) {
  return new Promise((resolve, reject) => {
    const connection = new Connection({
      server: "localhost",
      authentication: { type: "default", options: { userName, password: word } },
      options: {
        port: Number(port), database: "master", encrypt, trustServerCertificate: false,
        cryptoCredentialsDetails: { ca: fs.readFileSync(ca) },
      },
    });
    connection.connect((error) => (error ? reject(error) : resolve(connection)));
  });
}

function run(connection, sql, text, batch) {
  return new Promise((resolve, reject) => {
    const rows = [];
    const request = new Request(sql, (error) => (error ? reject(error) : resolve(rows)));
    request.on("row", (columns) => rows.push(columns.map((column) => column.value)));
    if (text !== undefined) request.addParameter("text", TYPES.NVarChar, text);
    batch ? connection.execSqlBatch(request) : connection.execSql(request);
  });
}

const connection = await connect("sa", password);
for (const statement of fs.readFileSync(statements, "utf8").split("\n").filter((line) => line)) {
  console.log(JSON.stringify(await run(connection, statement, undefined, true)));
}
const [[echo]] = await run(connection, "SELECT @text AS a", "it's \u20ac");
if (echo !== "it's \u20ac") throw new Error(echo);
connection.close();
const own = await connect("it's", "Second'2-Pass");
if ((await run(own, "SELECT SUSER_SNAME()"))[0][0] !== "it's") throw new Error("another name");
own.close();
let refused;
await connect("it's", "First-Pass-1").catch((error) => (refused = error));
if (!String(refused).includes("Login failed for user")) throw new Error("the old password: " + refused);
console.log("ok");
