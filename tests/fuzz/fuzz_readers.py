"""Every reader of what comes from elsewhere, as a function of bytes: the targets of fuzzing.

The rule for each: a correct result, or a :class:`UserError` of one line.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "search"), str(HERE.parents[1])]

from search_factories import run, usual

from boostformer import build, presets, recipes
from boostformer.architecture_file import read_architecture
from boostformer.data import cache as image_cache
from boostformer.data.images import image_form, image_size, is_painted, read_colours, read_image, read_mask
from boostformer.errors import UserError
from boostformer.figures import Provenance
from boostformer.weights import checkpoint, importers
from boostformer.weights.tensors import read_tensors
from evaluators.costs.kept import KeptCosts
from evaluators.costs.table import CostTable
from evaluators.latency.devices import read_devices
from evaluators.latency.jetson import board, trtexec
from evaluators.latency.jetson.script import read_identity, read_outcome
from evaluators.latency.table.file import TableFile
from results.history import read_history
from results.records import document_of, read_document
from results.run import read_run, run_of
from results.storage.location import storage_of
from search.config.run_file import read_run_file
from search.study.travel import export_run, import_run
from search_space import read_space

Feed = Callable[[bytes, Path], object]

RUN_FILE = """\
space: {base: tiny, stages: [{width: [16, 32]}, {depth: [1, 2]}, {}, {}]}
data: &d {kind: scenes, size: 32x64, scenes: {training: 4, validation: 2}}
objectives: [miou, macs]
budgets: {params: 60k, macs: 80%, baseline: segformer_b0}
proxy: {iterations: [2, 6], batch_size: 2, lr: 1.0e-3}
search: {strategy: random, trials: 3, seed: 0}
"""
DEVICES = """\
nano: {kind: jetson, address: nano.local, user: me, precision: fp16}
nano-table: {kind: table, of: nano, file: nano.jsonl}
mine: {kind: estimate, board: jetson-nano}
host: {kind: host, threads: 2}
"""
MARK = "0" * 32


@dataclass(frozen=True)
class Reader:
    """A reader: ``feed`` gives it a content, in an empty folder; ``seeds`` makes well-formed contents."""

    feed: Feed
    seeds: Callable[[], list[bytes]]

    def cases(self, name: str) -> list[bytes]:
        """Give what mutations begin from: well-formed contents, and what was found before."""
        return [*self.seeds(), *(file.read_bytes() for file in sorted((HERE / "corpus" / name).glob("*")))]


def put(folder: Path, name: str, content: bytes) -> Path:
    """Write a file, as somebody else did."""
    file = folder / name
    file.write_bytes(content)
    return file


def of_file(name: str, read: Callable[[Path], object]) -> Feed:
    return lambda content, folder: read(put(folder, name, content))


def of_folder(name: str, read: Callable[[Path], object]) -> Feed:
    def feed(content: bytes, folder: Path) -> object:
        put(folder, name, content)
        return read(folder)

    return feed


@cache
def made() -> Path:
    """Make once what seeds are taken from: a run, a checkpoint."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="boostformer-fuzz-"))
    run(folder / "run", 3, search=usual())
    export_run(folder / "run", folder / "run.zip", lambda line: None)
    model = build(presets.load("boostformer_b0").replace(classes=3, size=(64, 64)))
    model.save_pretrained(folder / "net")
    return folder


def configs() -> list[bytes]:
    """Give a config, and one without a checksum, of which more is believed."""
    content = (made() / "net" / "config.json").read_bytes()
    config = json.loads(content)
    del config["checksum"]
    return [content, json.dumps(config, indent=2).encode()]


def foreign_config() -> list[bytes]:
    stages = {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "num_attention_heads": [1, 2, 5, 8]}
    stages |= {
        "sr_ratios": [8, 4, 2, 1],
        "mlp_ratios": [4, 4, 4, 4],
        "patch_sizes": [7, 3, 3, 3],
        "strides": [4, 2, 2, 2],
    }
    rest = {"model_type": "segformer", "decoder_hidden_size": 256, "hidden_act": "gelu", "num_channels": 3}
    return [json.dumps(stages | rest | {"id2label": {"0": "a", "1": "b"}}).encode()]


def foreign(content: bytes, folder: Path) -> object:
    put(folder, "config.json", content)
    return importers._read_config(folder)


def weights() -> list[bytes]:
    import torch

    file = made() / "some.safetensors"
    save_file({"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3), "bn.num_batches_tracked": torch.tensor(4)}, file)
    return [file.read_bytes()]


def trial_row(content: bytes, folder: Path) -> object:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):  # no database hands that over
        return None
    known, stored = read_document(document, "study.json")
    return run_of(known, stored, "study.json")


def archive(content: bytes, folder: Path) -> object:
    try:
        return import_run(put(folder, "run.zip", content), folder / "out")
    finally:
        shutil.rmtree(folder / "out", ignore_errors=True)


def stored_zip() -> list[bytes]:
    """Give an exported run, and one whose members are not compressed, so that mutations reach them."""
    file, out = made() / "run.zip", io.BytesIO()
    with zipfile.ZipFile(file) as packed, zipfile.ZipFile(out, "w") as plain:
        for name in packed.namelist():
            plain.writestr(name, packed.read(name))
    return [file.read_bytes(), out.getvalue()]


def board_output(content: bytes, folder: Path) -> object:
    text = content.decode(errors="replace")
    read_identity(text)
    board.read_state(text)
    board.read_tegrastats(text)
    read_outcome(text, MARK)
    with contextlib.suppress(trtexec.LogError):
        trtexec.read_output(content)
    try:
        return trtexec.parse(text)
    except trtexec.LogError:
        return None


def cost_cache(content: bytes, folder: Path) -> object:
    kept = KeptCosts(put(folder, "costs.txt", content))
    return kept.get("a")


def costs() -> list[bytes]:
    file = made() / "costs.txt"
    CostTable(file).cost(presets.load("segformer_b0").replace(classes=3, size=(64, 64)))
    return [file.read_bytes()[:3000]]


def decoded(content: bytes, folder: Path, *, write: bool = False) -> object:
    """Open an entry of the image cache one of whose files was changed; it is whole, or made anew."""
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)

    def ask() -> np.ndarray:
        return image_cache.packed(folder / "cache", ["key"], ["image"], 1, lambda index: [array])["image"][0]

    ask()
    [entry] = (path for path in (folder / "cache").iterdir() if path.is_dir())
    names = ("image.bytes", "image.shapes.npy", "checksums.json")
    if write:
        return [(entry / name).read_bytes() for name in names]
    (entry / names[sum(content) % 3]).write_bytes(content)
    found = ask()
    shutil.rmtree(folder / "cache")
    assert np.array_equal(found, array), "silently wrong"
    return found


def entry() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return decoded(b"", Path(folder), write=True)  # type: ignore[return-value]


def table() -> list[bytes]:
    figure = Provenance("measured", "onnxruntime 1", "cpu", "fp32", ("1 thread",))
    file = made() / "table.jsonl"
    if not file.exists():
        TableFile(file).add_space("tiny", {"a": 1})
        from boostformer.parts import parts
        from evaluators.latency.backend import Measured

        for _, part, _ in list(parts(presets.load("segformer_b0")))[:2]:
            found = Measured.from_dict({"ms": 1.0, "low": 0.9, "high": 1.1, "runs": 9, "state": {}})
            TableFile(file).add_element(part, found, "0" * 16, "1" * 16, figure)
    return [file.read_bytes()]


def pictures(*forms: str, mode: str = "RGB") -> list[bytes]:
    found = []
    for form in forms:
        out = io.BytesIO()
        array = np.random.default_rng(0).integers(0, 4, (9, 7, 3) if mode == "RGB" else (9, 7), np.uint8)
        Image.fromarray(array).save(out, form)
        found.append(out.getvalue())
    return found


def image_in_all_ways(content: bytes, folder: Path) -> object:
    file = put(folder, "a.jpg", content)
    for read in (image_size, image_form):
        with contextlib.suppress(UserError):
            read(file)
    return read_image(file)


def mask_in_all_ways(content: bytes, folder: Path) -> object:
    file = put(folder, "a.png", content)
    for read in (is_painted, read_colours):
        with contextlib.suppress(UserError):
            read(file)
    return read_mask(file)


def history() -> list[bytes]:
    head = b"iteration,loss,lr,images_per_second,waiting,memory_mb,miou,accuracy\n"
    return [head + b"1,0.5,0.001,10.0,0.1,300,,\n2,0.4,0.001,10.0,0.1,300,0.2,0.3\n"]


READERS: dict[str, Reader] = {
    "run file": Reader(of_file("run.yaml", read_run_file), lambda: [RUN_FILE.encode()]),
    "space": Reader(
        of_file("space.yaml", read_space),
        lambda: [file.read_bytes() for file in sorted((HERE.parents[1] / "search_space" / "spaces").glob("tiny.yaml"))],
    ),
    "architecture": Reader(
        of_file("net.yaml", read_architecture), lambda: [presets.load("boostformer_b0").to_yaml().encode()]
    ),
    "architecture, JSON": Reader(
        of_file("net.json", read_architecture), lambda: [presets.load("boostformer_b0").to_json().encode()]
    ),
    "recipe": Reader(
        of_file("mine.yaml", recipes.load),
        lambda: [file.read_bytes() for file in sorted(Path(recipes.__file__).parent.glob("*.yaml"))],
    ),
    "devices": Reader(of_file("devices.yaml", read_devices), lambda: [DEVICES.encode()]),
    "checkpoint's config": Reader(of_folder("config.json", checkpoint.read_config), configs),
    "weights": Reader(of_file("model.safetensors", read_tensors), weights),
    "transformers' config": Reader(foreign, foreign_config),
    "journal": Reader(of_folder("journal.log", read_run), lambda: [(made() / "run" / "journal.log").read_bytes()]),
    "database's rows": Reader(trial_row, lambda: [json.dumps(document_of(made() / "run")).encode()]),
    "storage pointer": Reader(
        of_folder("storage.json", storage_of),
        lambda: [b'{"url": "postgresql://me@host/db?sslmode=require", "study": "a"}'],
    ),
    "run in one file": Reader(archive, stored_zip),
    "cost cache": Reader(cost_cache, costs),
    "image cache": Reader(decoded, entry),
    "latency table": Reader(of_file("table.jsonl", TableFile), table),
    "board's output": Reader(
        board_output,
        lambda: [file.read_bytes() for file in sorted((HERE.parent / "evaluators/latency/logs").glob("*.log"))],
    ),
    "images": Reader(image_in_all_ways, lambda: pictures("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")),
    "masks": Reader(mask_in_all_ways, lambda: pictures("PNG", mode="L")),
    "history of a training": Reader(of_folder("metrics.csv", read_history), history),
}
MOST_LINE = 2_100
"""Characters of a message; the command line cuts longer ones."""


def fault(reader: Reader, content: bytes, folder: Path) -> str | None:
    """Feed a content to a reader in an empty folder; say what breaks the rule, None where nothing does."""
    try:
        reader.feed(content, folder)
    except UserError as error:
        if len(str(error)) > MOST_LINE:
            return f"a message of {len(str(error)):,} characters"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return None
