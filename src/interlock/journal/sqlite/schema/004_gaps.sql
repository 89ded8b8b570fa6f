-- The event whose delivery told its receiver that this one is missing. Of what died before this, nothing is told any more.
ALTER TABLE rows ADD COLUMN told INTEGER;
UPDATE rows SET told = 0 WHERE state IN ('dead', 'discarded');
CREATE INDEX rows_missing ON rows (cursor, key, offset)
    WHERE told IS NULL AND key IS NOT NULL AND "trigger" <> 'replay' AND state IN ('dead', 'discarded');

-- How often an event was filtered because a newer one of its key had been delivered.
ALTER TABLE cursors ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
