-- What is in use and stops to be valid, by when: looked for again and again, among very many that do not.
CREATE INDEX version_expiry ON version (json_extract(meta, '$.expires'))
  WHERE stage = 'current' AND json_extract(meta, '$.expires') IS NOT NULL;
