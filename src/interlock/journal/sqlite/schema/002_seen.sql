-- Events whose identity came again: how often, how often of that with another payload, and when it did last.
CREATE TABLE seen (
    stream INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    again INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (stream, shard, offset)
) WITHOUT ROWID;
