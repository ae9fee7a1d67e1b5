"""Decoded arrays on disk: written once, then memory-mapped by every trial and process.

A cache entry is a folder named by a hash of what went in. It holds, for each kind of array, one flat
file of bytes and a table of shapes. It is written under a temporary name and renamed when complete, so
a killed process leaves no half entry, and processes that build the same entry do so without harm.
An entry that was damaged afterwards is built anew; what killed processes left is removed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.data.images import Array
from boostformer.data.split import SegmentationSplit, fitted_shape, resize_image, resize_label
from boostformer.errors import os_refusal

_AT_ONCE = 64  # decoded ahead of the writer, to bound memory
_DRAFT = ".tmp-"
_ABANDONED = 3600.0  # seconds without a write after which a draft's owner must be dead


class PackedArrays(Sequence[Array]):
    """A read-only list of uint8 arrays of any shapes, over one memory-mapped file.

    Raises FileNotFoundError, EOFError or ValueError when a file is missing or not as long as it was.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._shapes: NDArray[np.int64] = np.load(folder / f"{kind}.shapes.npy")
        ends = np.cumsum(self._shapes.prod(axis=1))
        self._bounds = np.concatenate([[0], ends])
        self._path = folder / f"{kind}.bytes"
        self._bytes: Array = np.asarray(np.memmap(self._path, np.uint8, "r"))
        if len(self._bytes) != ends[-1]:
            raise ValueError(f"{self._path}: has {len(self._bytes)} bytes instead of {ends[-1]}")

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # integers only, never slices
        return self._bytes[self._bounds[index] : self._bounds[index + 1]].reshape(self._shapes[index])

    def __reduce__(self):  # type: ignore[no-untyped-def]  # loader workers map the file again
        return PackedArrays, (self._path.parent, self._path.name.removesuffix(".bytes"))


@functools.cache
def _code() -> str:
    """Hash of the code that draws, decodes and resizes: what it made never outlives it."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def packed(
    folder: Path,
    key: Iterable[str],
    kinds: Sequence[str],
    count: int,
    decode: Callable[[int], Sequence[Array]],
) -> dict[str, PackedArrays]:
    """The arrays ``decode(0…count-1)``, one per kind, from the cache in ``folder``, filled if need be.

    Raises what ``decode`` raises, and UserError when the folder cannot be written or read.
    """
    digest = hashlib.sha256("\n".join([_code(), *kinds, *key]).encode()).hexdigest()[:24]
    entry = folder / digest
    try:
        _remove_abandoned(folder)
        if entry.is_dir():
            try:
                return _opened(entry, kinds)
            except (FileNotFoundError, EOFError, ValueError):  # damaged by a crash, or by hand
                _discard(entry)
        _build(entry, kinds, count, decode)
    except OSError as error:
        raise os_refusal(folder, "the cache folder cannot be used", error) from error
    return _opened(entry, kinds)


def _opened(entry: Path, kinds: Sequence[str]) -> dict[str, PackedArrays]:
    return {kind: PackedArrays(entry, kind) for kind in kinds}


def _build(entry: Path, kinds: Sequence[str], count: int, decode: Callable[[int], Sequence[Array]]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{entry.name}{_DRAFT}", dir=entry.parent))
    try:
        _write(draft, kinds, count, decode)
        _publish(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _discard(entry: Path) -> None:
    """Takes the entry away at once, so that no other process opens it while it is being deleted."""
    trash = Path(tempfile.mkdtemp(prefix=f"{entry.name}{_DRAFT}", dir=entry.parent))
    try:
        entry.rename(trash / "damaged")
    except FileNotFoundError:
        pass  # another process was quicker
    finally:
        shutil.rmtree(trash, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    now = time.time()
    for draft in folder.glob(f"*{_DRAFT}*"):
        try:
            written = max(path.stat().st_mtime for path in (draft, *draft.iterdir()))
        except OSError:
            continue  # its owner has just finished, or is another user
        if now - written > _ABANDONED:
            shutil.rmtree(draft, ignore_errors=True)


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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, _AT_ONCE):
            yield from pool.map(decode, range(start, min(start + _AT_ONCE, count)))


def _publish(draft: Path, entry: Path) -> None:
    draft.chmod(0o755)  # mkdtemp makes it private; the cache is shared
    try:
        draft.rename(entry)
    except OSError:
        if not entry.is_dir():  # otherwise another process finished the same entry first
            raise


class CachedSplit(SegmentationSplit):
    """A split whose network-scale images and labels come from the cache.

    Building it reads every file of the split once, so whatever is wrong with the data shows here, before
    any training. Labels at original resolution are kept too where they score (``keep_labels``).
    """

    def __init__(self, source: SegmentationSplit, folder: Path, keep_labels: bool) -> None:
        self._source = source
        self.labels, self.size, self.fit = source.labels, source.size, source.fit
        kinds = ("images", "labels", "originals") if keep_labels else ("images", "labels")

        def decode(index: int) -> Sequence[Array]:
            image, label = source.pair(index)
            shape = fitted_shape(label.shape, self.size, self.fit)
            return (resize_image(image, shape), resize_label(label, shape), label)[: len(kinds)]

        key = [f"size {self.size} {self.fit}", *source.fingerprint()]
        arrays = packed(folder, key, kinds, len(source), decode)
        self._images, self._labels = arrays["images"], arrays["labels"]
        self._originals = arrays.get("originals")

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return self._source.name(index)

    def image(self, index: int) -> Array:
        return self._source.image(index)

    def label(self, index: int) -> Array:
        return self._source.label(index) if self._originals is None else self._originals[index]

    def resized(self, index: int) -> tuple[Array, Array]:
        return self._images[index], self._labels[index]

    def fingerprint(self) -> Iterable[str]:
        return self._source.fingerprint()
