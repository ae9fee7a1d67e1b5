"""Digests of what a data set holds: the same wherever it lies and whenever it was copied, other after any change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from boostformer.data.images import Array
from boostformer.errors import os_refusal


def digest_of_files(*paths: Path) -> bytes:
    """SHA-256 of the files' bytes; UserError names one that cannot be read."""
    digests = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise os_refusal(path, "cannot be read", error) from error
    return hashlib.sha256(b"".join(digests)).digest()


def digest_of_pixels(*arrays: Array) -> bytes:
    """SHA-256 of the arrays and their shapes."""
    digest = hashlib.sha256(repr([array.shape for array in arrays]).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def combined(digest: Callable[[int], bytes], count: int) -> str:
    """Make one short digest of those of ``count`` samples, in their order."""
    with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
        digests = pool.map(digest, range(count))
        return hashlib.sha256(b"".join(digests)).hexdigest()[:16]
