-- What is old may be forgotten: rows of the trail up to one that the trail itself has named, and the journal of a run while that is being forgotten.
DROP TRIGGER audit_no_delete;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
  WHEN OLD.seq > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'audit-cut'), 0)
  BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
DROP TRIGGER intent_no_delete;
CREATE TRIGGER intent_no_delete BEFORE DELETE ON intent
  WHEN OLD.run IS NOT (SELECT value FROM meta WHERE key = 'run-forgotten')
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
DROP TRIGGER intent_outcome_no_delete;
CREATE TRIGGER intent_outcome_no_delete BEFORE DELETE ON intent_outcome
  WHEN (SELECT run FROM intent WHERE id = OLD.intent) IS NOT (SELECT value FROM meta WHERE key = 'run-forgotten')
  BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE INDEX run_finished ON run (finished, id) WHERE finished IS NOT NULL;
CREATE INDEX version_of_run ON version (run);
-- However many versions a secret has had, few of them live, and few share a value.
CREATE INDEX version_live ON version (secret, number) WHERE stage <> 'revoked';
CREATE INDEX version_same_value ON version (material_of) WHERE material_of IS NOT NULL;
