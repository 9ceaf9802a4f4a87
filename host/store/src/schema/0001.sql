CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs. `state` is the machine's, opaque here; `version` is its compare-and-set counter.
CREATE TABLE run (
  id        TEXT PRIMARY KEY,
  rotation  TEXT NOT NULL,
  secret    TEXT NOT NULL,
  principal TEXT NOT NULL,
  state     TEXT NOT NULL,
  version   INTEGER NOT NULL,
  started   INTEGER NOT NULL,
  updated   INTEGER NOT NULL,
  finished  INTEGER,
  outcome   TEXT,
  CHECK ((finished IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX run_open ON run (id) WHERE finished IS NULL;
CREATE INDEX run_of_rotation ON run (rotation, id);
CREATE INDEX run_of_secret ON run (secret, id);

-- What a run was about to do, written before it did it; and how that ended. Neither is ever changed.
CREATE TABLE intent (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  run         TEXT NOT NULL REFERENCES run (id),
  step        TEXT NOT NULL,
  attempt     INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  destination TEXT NOT NULL,
  secrets     TEXT NOT NULL,
  fence       INTEGER NOT NULL,
  epoch       INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  UNIQUE (run, step, attempt, seq)
) STRICT;
CREATE TABLE intent_outcome (
  intent INTEGER PRIMARY KEY REFERENCES intent (id),
  effect TEXT NOT NULL,
  code   TEXT NOT NULL,
  at     INTEGER NOT NULL
) STRICT;

-- Leases by principal and by secret. A row outlives its holder.
CREATE TABLE lease (
  kind          TEXT NOT NULL,
  name          TEXT NOT NULL,
  run           TEXT,
  holder        TEXT NOT NULL,
  fence         INTEGER NOT NULL,
  until         INTEGER NOT NULL,
  effects_until INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_of_fence ON lease (fence);

CREATE TABLE scratch (
  run   TEXT NOT NULL REFERENCES run (id),
  key   TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE recorded (
  run   TEXT NOT NULL REFERENCES run (id),
  label TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (run, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE probe (
  account TEXT NOT NULL,
  at      INTEGER NOT NULL,
  run     TEXT NOT NULL
) STRICT;
CREATE INDEX probe_of_account ON probe (account, at);

CREATE TABLE schedule (
  rotation TEXT PRIMARY KEY,
  next_due INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  reason   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_due ON schedule (next_due, priority, rotation);

CREATE TABLE audit (
  seq      INTEGER PRIMARY KEY,
  at       INTEGER NOT NULL,
  actor    TEXT NOT NULL,
  action   TEXT NOT NULL,
  resource TEXT NOT NULL,
  outcome  TEXT NOT NULL,
  run      TEXT,
  details  TEXT NOT NULL,
  prev     BLOB NOT NULL,
  hash     BLOB NOT NULL,
  seal     BLOB
) STRICT;
CREATE INDEX audit_resource ON audit (resource, seq);
CREATE INDEX audit_run ON audit (run, seq) WHERE run IS NOT NULL;

CREATE TABLE outbox (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  topic      TEXT NOT NULL,
  key        TEXT NOT NULL,
  body       TEXT NOT NULL,
  created    INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  done       INTEGER
) STRICT;
CREATE INDEX outbox_due ON outbox (not_before, id) WHERE done IS NULL;

-- The vault's. Blobs are ciphertext; the store cannot open them.
CREATE TABLE key_slot (
  id      TEXT PRIMARY KEY,
  kind    TEXT NOT NULL,
  header  TEXT NOT NULL,
  wrapped BLOB NOT NULL,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The keys that wrap versions' keys, each wrapped by the key that the slots hold.
CREATE TABLE key_term (
  term    INTEGER PRIMARY KEY,
  wrapped BLOB NOT NULL,
  created INTEGER NOT NULL
) STRICT;

CREATE TABLE secret (
  name    TEXT PRIMARY KEY,
  newest  INTEGER NOT NULL,
  created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE version (
  id          TEXT PRIMARY KEY,
  secret      TEXT NOT NULL REFERENCES secret (name),
  number      INTEGER NOT NULL,
  stage       TEXT NOT NULL CHECK (stage IN ('pending', 'current', 'previous', 'revoked', 'abandoned')),
  run         TEXT NOT NULL,
  fence       INTEGER NOT NULL,
  output_of   TEXT REFERENCES version (id),
  material_of TEXT REFERENCES version (id),
  ciphertext  BLOB,
  wrapped_key BLOB,
  meta        TEXT NOT NULL,
  created     INTEGER NOT NULL,
  UNIQUE (secret, number),
  CHECK ((material_of IS NULL) = (ciphertext IS NOT NULL)),
  CHECK ((ciphertext IS NULL) = (wrapped_key IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX version_current ON version (secret) WHERE stage = 'current';
CREATE UNIQUE INDEX version_pending ON version (secret) WHERE stage = 'pending';
CREATE INDEX version_output ON version (output_of) WHERE output_of IS NOT NULL;

CREATE TABLE version_event (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  version TEXT NOT NULL REFERENCES version (id),
  stage   TEXT NOT NULL,
  run     TEXT NOT NULL,
  at      INTEGER NOT NULL
) STRICT;
CREATE INDEX version_event_of ON version_event (version, id);

CREATE TABLE annotation (
  version TEXT NOT NULL REFERENCES version (id),
  key     TEXT NOT NULL,
  value   TEXT NOT NULL,
  PRIMARY KEY (version, key)
) STRICT, WITHOUT ROWID;

-- Captured secrets (`escrow`) and secret run state (`state`).
CREATE TABLE sealed (
  run         TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('escrow', 'state')),
  key         TEXT NOT NULL,
  ciphertext  BLOB NOT NULL,
  wrapped_key BLOB NOT NULL,
  meta        TEXT NOT NULL,
  created     INTEGER NOT NULL,
  PRIMARY KEY (run, kind, key)
) STRICT, WITHOUT ROWID;

-- What is written once stays.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER intent_no_update BEFORE UPDATE ON intent BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER intent_no_delete BEFORE DELETE ON intent BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER intent_outcome_no_update BEFORE UPDATE ON intent_outcome BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER intent_outcome_no_delete BEFORE DELETE ON intent_outcome BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER version_no_delete BEFORE DELETE ON version BEGIN SELECT RAISE(ABORT, 'versions are never deleted'); END;
CREATE TRIGGER version_material BEFORE UPDATE OF id, secret, number, run, output_of, material_of, created ON version
  BEGIN SELECT RAISE(ABORT, 'history is never rewritten'); END;
CREATE TRIGGER version_event_no_update BEFORE UPDATE ON version_event BEGIN SELECT RAISE(ABORT, 'history is never rewritten'); END;
CREATE TRIGGER version_event_no_delete BEFORE DELETE ON version_event BEGIN SELECT RAISE(ABORT, 'history is never rewritten'); END;
