-- One row a stream. `checkpoint` is its state at a position; the events after it are read again when the file is opened.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    shards INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    checkpoint BLOB NOT NULL
);

-- The sparse index of the log: where (position n) an offset of a shard stands. Events of the shard up to the next entry
-- stand within PLACE_STRIDE positions of it. Events themselves are in one table a segment, events_STREAM_SEGMENT.
CREATE TABLE places (
    stream INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (stream, shard, offset)
) WITHOUT ROWID;

-- Events by type up to an offset of a shard, at every TALLY_STRIDE-th one (msgpack): lag is counted from the next one.
CREATE TABLE tallies (
    stream INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    counts BLOB NOT NULL,
    PRIMARY KEY (stream, shard, offset)
) WITHOUT ROWID;

-- Copies of retired events that a row or a mark still needs.
CREATE TABLE kept (
    stream INTEGER NOT NULL,
    n INTEGER NOT NULL,
    place INTEGER NOT NULL,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    key TEXT,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    data BLOB NOT NULL,
    more BLOB,
    PRIMARY KEY (stream, place)
);

CREATE TABLE cursors (
    id INTEGER PRIMARY KEY,
    subscription TEXT NOT NULL,
    stream INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    start INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    above BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    discarded INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    types TEXT NOT NULL,
    token TEXT,
    unclean INTEGER NOT NULL,
    effects TEXT NOT NULL,
    worker TEXT,
    former TEXT,
    former_until INTEGER NOT NULL,
    UNIQUE (subscription, stream, shard)
);

CREATE TABLE rows (
    cursor INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    key TEXT,
    state TEXT NOT NULL,
    due_at INTEGER,
    since INTEGER,
    attempts INTEGER NOT NULL,
    attempts_total INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    call TEXT,
    crashes INTEGER NOT NULL,
    reason TEXT,
    error TEXT,
    status INTEGER,
    system TEXT,
    fingerprint TEXT,
    first_failed_at INTEGER,
    died_at INTEGER,
    replays INTEGER NOT NULL,
    memo BLOB NOT NULL,
    type TEXT NOT NULL,
    PRIMARY KEY (cursor, offset)
) WITHOUT ROWID;

CREATE TABLE marks (
    cursor INTEGER NOT NULL,
    key TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (cursor, key)
) WITHOUT ROWID;

-- Whole records of attempts (msgpack).
CREATE TABLE attempts (
    cursor INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    id TEXT NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (cursor, offset, started_at, id)
) WITHOUT ROWID;

-- The successes of one settlement (msgpack), by the highest of their offsets.
CREATE TABLE successes (
    cursor INTEGER NOT NULL,
    last INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (cursor, last, epoch, number)
) WITHOUT ROWID;

CREATE TABLE leases (
    worker TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    released INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE cells (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    value BLOB NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;

CREATE INDEX cells_by_expiry ON cells (expires_at) WHERE expires_at IS NOT NULL;

-- `closed` is 1 while no process has the file open for writing.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO facts VALUES ('closed', 1);
