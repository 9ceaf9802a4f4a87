-- What ends the session that an intent goes through (a takeover does that first); null: nothing can.
ALTER TABLE intent ADD COLUMN session TEXT;
