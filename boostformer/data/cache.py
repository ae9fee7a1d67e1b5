"""Decoded arrays on disk: written once, then memory-mapped by every trial and process.

A cache entry is a folder named by a hash of what went in. It holds, for each kind of array, one flat file of bytes and
a table of shapes, and the checksums of all of them, which every opening compares: an entry that was damaged is built
anew. It is written under a temporary name and renamed when complete, so a killed process leaves no half entry, and
processes that build the same entry do so without harm. What killed processes left is removed, and so is what was not
opened for a month.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.data.cache_entries import (
    CHECKSUMS,
    DRAFT,
    discard,
    make_cache,
    mark_used,
    remove_abandoned,
    remove_unused,
    share_as,
)
from boostformer.data.images import Array
from boostformer.data.labels import label_dtype
from boostformer.data.split import SegmentationSplit, fitted_shape, moments_of, resize_image, resize_label, total_of
from boostformer.errors import os_refusal
from boostformer.files import cache_folder, publish, sync_folder
from boostformer.fingerprints import code_fingerprint

CODE = "boostformer/data/**/*.py"
"""Files that draw, decode and resize: what they made never outlives them."""
_AHEAD = 2  # arrays that each core decodes ahead of the writer: images may be large
_BLOCK = 16 << 20  # bytes that one checksum is of


def data_cache() -> Path:
    """Return the folder of decoded images, which all runs share."""
    return cache_folder() / "data"


class PackedArrays(Sequence[Array]):
    """A read-only list of uint8 arrays of any shapes, over one memory-mapped file."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._shapes: NDArray[np.int64] = np.load(folder / f"{kind}.shapes.npy")
        self._bounds = np.concatenate([[0], np.cumsum(self._shapes.prod(axis=1))])
        self._path = folder / f"{kind}.bytes"
        holds = self._path.stat().st_size > 0  # nothing cannot be mapped
        self._bytes: Array = np.asarray(np.memmap(self._path, np.uint8, "r")) if holds else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # integers only, never slices
        return self._bytes[self._bounds[index] : self._bounds[index + 1]].reshape(self._shapes[index])

    def __reduce__(self):  # type: ignore[no-untyped-def]  # loader workers map the file again
        return PackedArrays, (self._path.parent, self._path.name.removesuffix(".bytes"))


def packed(
    folder: Path,
    key: Iterable[str],
    kinds: Sequence[str],
    count: int,
    decode: Callable[[int], Sequence[Array]],
) -> dict[str, PackedArrays]:
    """The decoded arrays, from the cache, which is filled if need be.

    Args:
        folder: Where all entries are.
        key: Lines that change whenever an array would.
        kinds: Names of the kinds of arrays.
        count: How many arrays of each kind there are.
        decode: Maps 0…count-1 to uint8 arrays of any shapes, one per kind.

    Raises:
        UserError: The folder cannot be written or read; besides, whatever ``decode`` raises.
    """
    digest = hashlib.sha256("\n".join([code_fingerprint(CODE), *kinds, *key]).encode()).hexdigest()[:24]
    entry = folder / digest
    try:
        mark_used(entry)
        remove_unused(folder)
        remove_abandoned(folder)
        if entry.is_dir() and not _is_whole(entry, kinds):
            logging.getLogger(__name__).warning("%s: decoded images were damaged and are made anew", entry)
            discard(entry)
        if not entry.is_dir():
            _build(entry, kinds, count, decode)
    except OSError as error:
        raise os_refusal(folder, "the cache folder cannot be used", error) from error
    return {kind: PackedArrays(entry, kind) for kind in kinds}


def _is_whole(entry: Path, kinds: Sequence[str]) -> bool:
    try:
        stored = json.loads((entry / CHECKSUMS).read_bytes())
        return bool(stored == _checksums(entry, kinds))
    except (FileNotFoundError, ValueError, RecursionError):
        return False


def _checksums(entry: Path, kinds: Sequence[str]) -> dict[str, list[int]]:
    """By file, the CRC-32 of each block of it: on each core some 2 GiB a second, once they are read."""
    found = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in (f"{kind}.{what}" for kind in kinds for what in ("bytes", "shapes.npy")):
            with (entry / name).open("rb") as stream:
                read = functools.partial(os.pread, stream.fileno(), _BLOCK)
                starts = range(0, os.fstat(stream.fileno()).st_size, _BLOCK)
                found[name] = list(pool.map(lambda start, read=read: zlib.crc32(read(start)), starts))
    return found


def _build(entry: Path, kinds: Sequence[str], count: int, decode: Callable[[int], Sequence[Array]]) -> None:
    make_cache(entry.parent)
    draft, lock = _draft(entry)
    try:
        _write(draft, kinds, count, decode)
        (draft / CHECKSUMS).write_text(json.dumps(_checksums(draft, kinds)))
        sync_folder(draft)
        _publish(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def _draft(entry: Path) -> tuple[Path, int]:
    """Make a folder to write the entry in; a lock on it, which the kernel frees, says that its owner lives."""
    while True:
        draft = Path(tempfile.mkdtemp(prefix=f"{entry.name}{DRAFT}", dir=entry.parent))
        try:
            lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # another process took it for abandoned before it was locked
        with suppress(OSError):  # a file system without locks, where no draft is taken for abandoned either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if draft.is_dir():
            return draft, lock
        os.close(lock)  # likewise


def _write(draft: Path, kinds: Sequence[str], count: int, decode: Callable[[int], Sequence[Array]]) -> None:
    shapes: dict[str, list[tuple[int, ...]]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        files = {kind: stack.enter_context((draft / f"{kind}.bytes").open("wb")) for kind in kinds}
        for arrays in _in_order(decode, count):
            for kind, array in zip(kinds, arrays, strict=True):
                files[kind].write(np.ascontiguousarray(array).data)
                shapes[kind].append(array.shape)
    for kind in kinds:
        np.save(draft / f"{kind}.shapes.npy", np.array(shapes[kind], dtype=np.int64))


def _in_order(decode: Callable[[int], Sequence[Array]], count: int) -> Iterator[Sequence[Array]]:
    # Decoding releases the interpreter's lock, so threads are enough.
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        ahead: deque[Future[Sequence[Array]]] = deque()
        for index in range(count):
            ahead.append(pool.submit(decode, index))
            if len(ahead) > _AHEAD * cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _publish(draft: Path, entry: Path) -> None:
    share_as(draft, entry.parent)
    try:
        publish(draft, entry)
    except OSError:
        if not entry.is_dir():  # otherwise another process finished the same entry first
            raise


class CachedSplit(SegmentationSplit):
    """A split whose network-scale images and labels come from the cache.

    Building it reads every file of the split once, so whatever is wrong with the data shows here, before
    any training. Each sample's digest is kept too; where they score (``keep_labels``), labels at original
    resolution, unless that is network scale; of other bands than RGB, what their mean and deviation follow from.
    """

    def __init__(self, source: SegmentationSplit, folder: Path, keep_labels: bool) -> None:
        self._source = source
        self.see_as(source)
        self.labels, self.remarks, self.summary = source.labels, source.remarks, source.summary
        self._dtype = label_dtype(len(self.labels))
        keeps_both = keep_labels and self.fit != "tile"
        own_bands = self.reading.bands != "rgb"
        kinds = ["images", "labels", "digests", *["originals"] * keeps_both, *["moments"] * own_bands]

        def decode(index: int) -> Sequence[Array]:
            image, label = source.pair(index)
            shape = fitted_shape(label.shape, self.size, self.fit)
            made: dict[str, NDArray[Any]] = {
                "images": resize_image(image, shape),
                "labels": resize_label(label, shape),
                "digests": np.frombuffer(source.digest(index), np.uint8),
                "originals": label,
            }
            if own_bands:
                made["moments"] = moments_of(made["images"])
            return [np.ascontiguousarray(made[kind]).view(np.uint8) for kind in kinds]

        key = [f"size {self.size} {self.fit}", *source.fingerprint()]
        arrays = packed(folder, key, kinds, len(source), decode)
        self._images, self._labels, self._digests = (arrays[kind] for kind in kinds[:3])
        self._originals = arrays.get("originals", self._labels if keep_labels else None)
        self._moments = arrays.get("moments")

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return self._source.name(index)

    def image(self, index: int) -> Array:
        return self._source.image(index)

    def label(self, index: int) -> Array:
        return self._source.label(index) if self._originals is None else self._originals[index].view(self._dtype)

    def resized(self, index: int) -> tuple[Array, Array]:
        return self._images[index], self._labels[index].view(self._dtype)

    def moments(self) -> NDArray[np.int64]:
        if self._moments is None:
            return super().moments()
        return total_of(self._moments[index].view(np.int64) for index in range(len(self)))

    def digest(self, index: int) -> bytes:
        return self._digests[index].tobytes()

    def fingerprint(self) -> Iterable[str]:
        return self._source.fingerprint()
