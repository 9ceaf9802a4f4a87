-- However many runs a rotation has had, at most one is open, and it is found without a look at the others.
CREATE INDEX run_open_of_rotation ON run (rotation, id) WHERE finished IS NULL;
CREATE INDEX run_open_of_secret ON run (secret, id) WHERE finished IS NULL;
