"""Chance that can be repeated: a number from a seed and what it is about, whatever was asked before or meanwhile."""

from __future__ import annotations

from hashlib import blake2b


def chance(seed: int, *about: object) -> float:
    """A number of [0, 1), always the same for the same seed and words."""
    words = "/".join(str(word) for word in (seed, *about))
    return int.from_bytes(blake2b(words.encode(), digest_size=6).digest()) / 2**48
