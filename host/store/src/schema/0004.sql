-- Rotations of tables (`each`): the rows that were accepted. The next generation is written beside the one that counts, and counts from one commit on.
CREATE TABLE listed (
  generation INTEGER NOT NULL,
  name       TEXT NOT NULL,
  secret     TEXT NOT NULL,
  part       INTEGER NOT NULL,
  cells      TEXT NOT NULL,
  plugin     TEXT NOT NULL,
  target     TEXT NOT NULL,
  -- When it is looked at first; null: nothing of it is due by itself.
  look       INTEGER,
  -- The generation before has the same row.
  kept       INTEGER NOT NULL,
  PRIMARY KEY (generation, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX listed_secret ON listed (generation, secret);

-- What is known of each of them, whatever the generation: when it is to be looked at, from when its end is near, whether its last run came to nothing.
CREATE TABLE watched (
  rotation   TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  plugin     TEXT NOT NULL,
  target     TEXT NOT NULL,
  seen       INTEGER NOT NULL,
  look       INTEGER,
  presses    INTEGER,
  ill        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX watched_look ON watched (look, target, plugin) WHERE look IS NOT NULL;
CREATE INDEX watched_presses ON watched (presses, look) WHERE presses IS NOT NULL;
CREATE INDEX watched_target ON watched (target);
CREATE INDEX watched_ill ON watched (rotation) WHERE ill = 1;
CREATE INDEX watched_generation ON watched (generation);
