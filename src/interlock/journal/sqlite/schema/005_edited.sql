-- The producer's id of the event that was appended instead of this one.
ALTER TABLE rows ADD COLUMN edited TEXT;
