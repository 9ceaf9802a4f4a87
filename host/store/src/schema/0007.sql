-- What is in use and stops to be valid, by when: looked for again and again, among very many that do not. What is damaged says nothing, and keeps no other
-- row from being found or written.
CREATE INDEX version_expiry ON version (CASE WHEN json_valid(meta) THEN json_extract(meta, '$.expires') END)
  WHERE stage = 'current' AND CASE WHEN json_valid(meta) THEN json_extract(meta, '$.expires') END IS NOT NULL;
