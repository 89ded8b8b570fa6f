"""HTTP/1.1 framing, connections and the upstream pool: bytes, no policy."""
