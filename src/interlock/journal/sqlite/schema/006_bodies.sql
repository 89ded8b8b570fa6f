-- Events whose payload is in a file: by the file's name (the SHA-256 of its bytes), and how many they are.
CREATE TABLE bodies (
    hash TEXT NOT NULL,
    stream INTEGER NOT NULL,
    place INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (hash, stream, place)
) WITHOUT ROWID;

CREATE INDEX bodies_by_place ON bodies (stream, place);
