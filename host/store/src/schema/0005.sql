-- A version that is long revoked may be forgotten, with what is known of its stages, while that is being done.
DROP TRIGGER version_no_delete;
CREATE TRIGGER version_no_delete BEFORE DELETE ON version
  WHEN OLD.id IS NOT (SELECT value FROM meta WHERE key = 'version-forgotten')
  BEGIN SELECT RAISE(ABORT, 'versions are never deleted'); END;
DROP TRIGGER version_event_no_delete;
CREATE TRIGGER version_event_no_delete BEFORE DELETE ON version_event
  WHEN OLD.version IS NOT (SELECT value FROM meta WHERE key = 'version-forgotten')
  BEGIN SELECT RAISE(ABORT, 'history is never rewritten'); END;
