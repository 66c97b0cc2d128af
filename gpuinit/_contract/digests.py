"""Digests: of an array, from those of its pieces; of a model, from the names and digests of its arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

# Of the contract on values, docs/values.md: raised whenever any value changes.
CONTRACT_VERSION = 3
# Elements that are hashed on their own, so that threads share a large array.
PIECE = 2**20


def digest_of_array(dtype: str, shape: tuple[int, ...], pieces: Iterable[bytes]) -> str:
    """Return an array's digest; `pieces` are the SHA-256 of its pieces, in order."""
    total = hashlib.sha256(f"{dtype}\n{','.join(map(str, shape))}\n".encode())  # neither has a line feed
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()


def digest_of_model(digests: Mapping[str, str]) -> str:
    """Return the digest that names and arrays' digests make, in the order of the names' code points."""
    total = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        line = name.replace("\\", r"\\").replace("\n", r"\n")  # so that the end of each name can be seen
        total.update(f"{digest} {line}\n".encode())
    return total.hexdigest()
