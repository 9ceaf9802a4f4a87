//! What two roles that take turns do not have in common: clients go from one to the other, and would miss it.
//!
//! Nothing is changed here. Each finding says what one of the two has, and the statement that gives it to the other.

use keywheel_sdk::sql::{Piece, Session, Table};
use keywheel_sdk::{Error, Plan};

/// More than these of one kind are counted: the first say what is wrong.
const SHOWN: usize = 10;

/// `a` has what is asked for, and `b` lacks it. Whatever follows gives rows of what it is (`what`), how it is given to `b` (`give`), and a name of it
/// that is the same seen from `b` (`key`).
const A: &str = "WITH p AS (SELECT a.oid AS a, a.rolname AS name, quote_ident(a.rolname) AS an, b.oid AS b, quote_ident(b.rolname) AS bn \
    FROM pg_roles a, pg_roles b WHERE a.rolname = ";
const B: &str = " AND b.rolname = ";

/// Settings of a role, everywhere or in one database. Values of lists are kept as they are written; those of settings that no server has by itself may
/// be anything, so they are not shown.
const SETTINGS: &str = "), s AS (SELECT s.setrole AS role, s.setdatabase AS place, split_part(c, '=', 1) AS setting, \
    substr(c, strpos(c, '=') + 1) AS value FROM pg_db_role_setting s, unnest(s.setconfig) c) \
    SELECT s.setting || coalesce(' in ' || quote_ident(d.datname), '') AS key, \
    CASE WHEN t.value IS NULL THEN '' ELSE 'its own value of ' END || 'the setting ' || s.setting \
    || coalesce(' in the database ' || d.datname, '') AS what, \
    'ALTER ROLE ' || p.bn || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') || ' SET ' || s.setting || ' TO ' \
    || CASE WHEN s.setting LIKE '%.%' THEN '…' WHEN s.setting IN ('search_path', 'temp_tablespaces', 'local_preload_libraries', \
    'session_preload_libraries') THEN s.value ELSE quote_literal(s.value) END AS give \
    FROM p JOIN s ON s.role = p.a LEFT JOIN s t ON t.role = p.b AND t.place = s.place AND t.setting = s.setting \
    LEFT JOIN pg_database d ON d.oid = s.place WHERE t.value IS DISTINCT FROM s.value ORDER BY 1 LIMIT 100";

/// Before PostgreSQL 16 the one option of a membership is told as a second one; since then each has three.
const MEMBERSHIPS: &str = "), m AS (SELECT m.member, m.roleid, bool_or(m.admin_option) AS admin, \
    bool_or((to_jsonb(m)->>'inherit_option')::boolean) AS inherits, bool_or((to_jsonb(m)->>'set_option')::boolean) AS sets \
    FROM pg_auth_members m GROUP BY 1, 2), \
    n AS (SELECT m.member, m.roleid, v.options FROM m, LATERAL (VALUES (CASE WHEN m.inherits IS NULL THEN '' ELSE \
    format(' WITH ADMIN %s, INHERIT %s, SET %s', upper(m.admin::text), upper(m.inherits::text), upper(m.sets::text)) END), \
    (CASE WHEN m.inherits IS NULL AND m.admin THEN ' WITH ADMIN OPTION' END)) v(options) WHERE v.options IS NOT NULL) \
    SELECT g.rolname || CASE WHEN n.options LIKE '%OPTION' THEN n.options ELSE '' END AS key, \
    'the membership of ' || quote_ident(g.rolname) || lower(n.options) AS what, \
    'GRANT ' || quote_ident(g.rolname) || ' TO ' || p.bn || n.options AS give \
    FROM p JOIN n ON n.member = p.a AND n.roleid <> p.b JOIN pg_roles g ON g.oid = n.roleid \
    WHERE NOT EXISTS (SELECT FROM n o WHERE o.member = p.b AND o.roleid = n.roleid AND o.options = n.options) ORDER BY 1 LIMIT 100";

const ATTRIBUTES: &str = ") SELECT v.word AS key, 'the attribute ' || v.word || v.value AS what, \
    'ALTER ROLE ' || p.bn || ' ' || v.word || v.value AS give FROM p JOIN pg_roles x ON x.oid = p.a JOIN pg_roles y ON y.oid = p.b, \
    LATERAL (VALUES ('INHERIT', '', x.rolinherit AND NOT y.rolinherit), ('CREATEDB', '', x.rolcreatedb AND NOT y.rolcreatedb), \
    ('CREATEROLE', '', x.rolcreaterole AND NOT y.rolcreaterole), ('REPLICATION', '', x.rolreplication AND NOT y.rolreplication), \
    ('BYPASSRLS', '', x.rolbypassrls AND NOT y.rolbypassrls), \
    ('CONNECTION LIMIT', ' ' || x.rolconnlimit, x.rolconnlimit <> y.rolconnlimit)) v(word, value, differs) WHERE v.differs";

/// Of what one of the two makes, and what others make for one of the two. -1 and -2 are the one and the other, whoever is asked about; what the server
/// gives by itself is left out, and told where it was taken away.
const DEFAULTS: &str = "), v AS (SELECT a AS self, b AS other FROM p UNION ALL SELECT b, a FROM p), \
    d AS (SELECT d.defaclrole AS owner, d.defaclnamespace AS place, d.defaclobjtype AS kind, d.defaclacl AS acl, \
    CASE WHEN d.defaclnamespace = 0 THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole) \
    END AS base FROM pg_default_acl d), \
    x AS ((SELECT owner, place, kind, 'GRANT' AS verb, e.grantee, e.privilege_type, e.is_grantable FROM d, aclexplode(d.acl) e \
    EXCEPT SELECT owner, place, kind, 'GRANT', e.grantee, e.privilege_type, e.is_grantable FROM d, aclexplode(d.base) e) \
    UNION ALL (SELECT owner, place, kind, 'REVOKE', e.grantee, e.privilege_type, e.is_grantable FROM d, aclexplode(d.base) e \
    EXCEPT SELECT owner, place, kind, 'REVOKE', e.grantee, e.privilege_type, e.is_grantable FROM d, aclexplode(d.acl) e)), \
    n AS (SELECT v.self, CASE x.owner WHEN v.self THEN -1 WHEN v.other THEN -2 ELSE x.owner::bigint END AS owner, x.place, x.kind, x.verb, \
    CASE x.grantee WHEN v.self THEN -1 WHEN v.other THEN -2 ELSE x.grantee::bigint END AS grantee, x.privilege_type, x.is_grantable \
    FROM x JOIN v ON x.owner = v.self OR x.grantee = v.self AND x.owner <> v.other), \
    l AS (SELECT n.owner, n.place, n.kind, n.verb, n.grantee, n.privilege_type, n.is_grantable FROM n JOIN p ON n.self = p.a \
    EXCEPT SELECT n.owner, n.place, n.kind, n.verb, n.grantee, n.privilege_type, n.is_grantable FROM n JOIN p ON n.self = p.b), \
    g AS (SELECT CASE l.owner WHEN -1 THEN p.bn WHEN -2 THEN p.an ELSE quote_ident(o.rolname) END AS owner, \
    coalesce(' IN SCHEMA ' || quote_ident(s.nspname), '') AS place, l.verb || ' ' || string_agg(l.privilege_type, ', ' ORDER BY l.privilege_type) \
    || ' ON ' || CASE l.kind WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' WHEN 'T' THEN 'TYPES' \
    WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS what, CASE l.verb WHEN 'GRANT' THEN ' TO ' ELSE ' FROM ' END || \
    CASE l.grantee WHEN -1 THEN p.bn WHEN -2 THEN p.an WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END \
    || CASE WHEN l.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS who \
    FROM p, l LEFT JOIN pg_roles o ON o.oid::bigint = l.owner LEFT JOIN pg_roles r ON r.oid::bigint = l.grantee \
    LEFT JOIN pg_namespace s ON s.oid = l.place \
    GROUP BY l.owner, l.place, l.kind, l.verb, l.grantee, l.is_grantable, o.rolname, r.rolname, s.nspname, p.an, p.bn) \
    SELECT 'FOR ROLE ' || owner || place || ' ' || what || who AS key, 'the default privilege ' || what || place AS what, \
    'ALTER DEFAULT PRIVILEGES FOR ROLE ' || owner || place || ' ' || what || who AS give FROM g ORDER BY 1 LIMIT 100";

/// What was granted to the one by its name, and the other has in no way. A name that is cast is written with its schema, quoted.
const GRANTS: &str = "), x AS (\
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass::text AS thing, e.privilege_type, e.is_grantable \
    FROM p, pg_class c, aclexplode(c.relacl) e WHERE e.grantee = p.a AND c.relowner <> p.a AND NOT CASE c.relkind WHEN 'S' \
    THEN has_sequence_privilege(p.b, c.oid, e.privilege_type) ELSE has_table_privilege(p.b, c.oid, e.privilege_type) END \
    UNION ALL SELECT 'SCHEMA ' || quote_ident(s.nspname), e.privilege_type, e.is_grantable FROM p, pg_namespace s, aclexplode(s.nspacl) e \
    WHERE e.grantee = p.a AND s.nspowner <> p.a AND NOT has_schema_privilege(p.b, s.oid, e.privilege_type) \
    UNION ALL SELECT 'ROUTINE ' || f.oid::regprocedure::text, e.privilege_type, e.is_grantable FROM p, pg_proc f, aclexplode(f.proacl) e \
    WHERE e.grantee = p.a AND f.proowner <> p.a AND NOT has_function_privilege(p.b, f.oid, e.privilege_type) \
    UNION ALL SELECT 'DATABASE ' || quote_ident(d.datname), e.privilege_type, e.is_grantable FROM p, pg_database d, aclexplode(d.datacl) e \
    WHERE e.grantee = p.a AND d.datdba <> p.a AND NOT has_database_privilege(p.b, d.oid, e.privilege_type)), \
    g AS (SELECT string_agg(privilege_type, ', ' ORDER BY privilege_type) || ' ON ' || thing AS what, is_grantable FROM x GROUP BY thing, is_grantable) \
    SELECT g.what AS key, g.what AS what, 'GRANT ' || g.what || ' TO ' || p.bn \
    || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS give FROM p, g ORDER BY 1 LIMIT 100";

/// By `$user`, unless the role has a path of its own without it, or is another one as soon as it has logged in.
const SCHEMA: &str = ") SELECT n.nspname::text AS key, 'the schema ' || quote_ident(n.nspname) || ' in its search_path (\"$user\")' AS what, \
    format('ALTER ROLE %s SET search_path TO %s, public; ALTER ROLE %s SET search_path TO %2$s, public', p.an, quote_ident(n.nspname), p.bn) AS give \
    FROM p JOIN pg_namespace n ON n.nspname = p.name WHERE NOT EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c \
    WHERE s.setrole = p.a AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
    AND (c LIKE 'role=%' OR c LIKE 'search_path=%' AND strpos(c, '$user') = 0))";

/// A role that both are members of, for what neither should own itself.
const COMMON: &str = ") SELECT quote_ident(min(g.rolname)) AS common, min(p.an) AS an, min(p.bn) AS bn FROM p \
    LEFT JOIN pg_auth_members x ON x.member = p.a LEFT JOIN pg_auth_members y ON y.member = p.b AND y.roleid = x.roleid \
    LEFT JOIN pg_roles g ON g.oid = y.roleid AND g.rolname !~ '^pg_'";

/// With the code of each kind.
const KINDS: [(&str, &str); 6] = [
    ("postgres.settings", SETTINGS),
    ("postgres.membership", MEMBERSHIPS),
    ("postgres.attributes", ATTRIBUTES),
    ("postgres.default-privileges", DEFAULTS),
    ("postgres.grants", GRANTS),
    ("postgres.user-schema", SCHEMA),
];

fn ask(admin: &Session, (a, b): (&str, &str), what: &'static str) -> Result<Table, Error> {
    admin.query(&[Piece::Text(A), Piece::Param(a), Piece::Text(B), Piece::Param(b), Piece::Text(what)])
}

/// Compares the two, first what the one has that clients use now. What cannot be looked at is no reason not to rotate.
pub(crate) fn look(plan: &mut Plan, admin: &Session, (used, other): (&str, &str)) {
    for (code, asked) in KINDS {
        let both = [(used, other), (other, used)].map(|pair| ask(admin, pair, asked).map(|rows| (pair, rows)));
        match both {
            [Ok(first), Ok(second)] => differ(plan, code, [first, second]),
            [Err(problem), _] | [_, Err(problem)] => {
                let message = format!("whether {used} and {other} are alike was not looked at: {}", problem.message);
                plan.warning(code, message, "look yourself: clients go from one to the other");
            }
        }
    }
}

/// A value that both have, and that differs, is told once: the other one gets that of the one that is used.
fn differ(plan: &mut Plan, code: &'static str, both: [((&str, &str), Table); 2]) {
    let (mut known, mut more) = (Vec::new(), 0);
    for ((has, lacks), rows) in both {
        for row in rows.each() {
            let key = row.text("key").to_owned();
            if known.contains(&key) {
                continue;
            }
            if known.len() < SHOWN {
                let message = format!("{has} has {}, which {lacks} has not", row.text("what"));
                plan.warning(code, message, row.text("give"));
            } else {
                more += 1;
            }
            known.push(key);
        }
    }
    if more > 0 {
        plan.warning(code, format!("and {more} more"), "mend these, and look again");
    }
}

/// What one of the two owns, the other one may not alter or drop. `owned`: how many things, in all databases.
pub(crate) fn owns(plan: &mut Plan, admin: &Session, (name, other): (&str, &str), owned: i64) {
    let found = ask(admin, (name, other), COMMON);
    let (common, an, bn) = match &found {
        Ok(row) if !row.text("an").is_empty() => (row.text("common"), row.text("an"), row.text("bn")),
        _ => ("", name, other),
    };
    let (make, group) = match common {
        "" => (format!("CREATE ROLE owner NOLOGIN; GRANT owner TO {an}, {bn}; "), "owner"),
        common => (String::new(), common),
    };
    let set = [an, bn].map(|role| format!("ALTER ROLE {role} SET role TO {group}")).join("; ");
    let hint = format!("{make}REASSIGN OWNED BY {an} TO {group}; {set} -- in each database");
    let message = format!("{name} itself owns {owned} thing(s): {other} may not alter or drop them");
    plan.warning("postgres.ownership", message, hint);
}
