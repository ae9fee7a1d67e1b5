"""Reading something small of every sample, by threads and once: from the cache where it is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boostformer.data.cache import packed
from boostformer.data.faults import Fault, collector
from boostformer.data.images import Array
from boostformer.data.samples import Sample
from boostformer.errors import UserError

Row = Sequence[Array]
"""Record of one sample: flat arrays of uint8, one of each kind."""


def read_each(
    samples: Sequence[Sample], what: str, kinds: Sequence[str], read: Callable[[Sample], Row], cache: Path | None
) -> tuple[Sequence[Sample], Sequence[Row]]:
    """Read a row of each sample; where faults are collected, of each sample that can be read.

    Args:
        samples: what to read.
        what: the name of such rows in the cache.
        kinds: names of the arrays of a row.
        read: makes a row; UserError when the sample is faulty.
        cache: folder of the cache, if any; rows of faulty data sets are not kept there.

    Returns:
        The samples that were read and their rows, in order.
    """
    into = collector()
    rows: list[Row | None] = [None] * len(samples)

    def decode(index: int) -> Row:
        rows[index] = row = read(samples[index])
        if into is not None:
            into.read()
        return row

    refusal: UserError | None = None
    if cache is not None:
        try:
            stamps = (line for sample in samples for line in sample.stamps())
            found = packed(cache, [what, *stamps], kinds, len(samples), decode)
            return samples, list(zip(*(found[kind] for kind in kinds), strict=True))
        except UserError as error:
            if into is None:
                raise
            refusal = error

    def attempt(index: int) -> None:
        try:
            if rows[index] is None:
                decode(index)
        except UserError as error:
            if into is None:
                raise
            into.faults.append(Fault.of(error, *samples[index].files(), samples[index].source))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(attempt, range(len(samples))))
    kept = [index for index, row in enumerate(rows) if row is not None]
    if refusal is not None and len(kept) == len(samples) and not _is_about(refusal, samples):
        raise refusal  # nothing is wrong with the samples, but with the cache
    return [samples[index] for index in kept], [row for row in rows if row is not None]


def _is_about(error: UserError, samples: Sequence[Sample]) -> bool:
    return any(str(error).startswith(f"{path}: ") for sample in samples for path in (*sample.files(), sample.source))
