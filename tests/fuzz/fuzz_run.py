"""Fuzz the readers of everything that comes from elsewhere.

`python tests/fuzz/fuzz_run.py [READER …] [--cases 10000] [--out build/fuzz]` goes on where it was stopped.
`--coverage-guided READER [--seconds 60]` lets atheris choose the contents by the lines they reach, and goes on with
those it kept; it stops at the first that breaks the rule and leaves it beside them.

A case breaks the rule when it ends otherwise than in a result or a UserError, takes more than 2 s, or 500 MB.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from fuzz_mutations import mutated

GUIDED = "--coverage-guided"
if any(word.startswith(GUIDED) for word in sys.argv):  # atheris must see our modules being imported
    try:
        import atheris
    except ImportError as error:
        sys.exit(f"{GUIDED} needs atheris, which is no requirement of ours: pip install atheris ({error})")
    with atheris.instrument_imports(include=["boostformer", "evaluators", "results", "search", "search_space"]):
        from fuzz_readers import READERS, Reader, fault
else:
    from fuzz_readers import READERS, Reader, fault

SECONDS, MEGABYTES = 2.0, 500


def fuzz(name: str, cases: int, out: Path) -> dict[str, int]:
    """Run the cases of a reader that were not run yet; give how many were, and how many broke the rule."""
    progress = out / f"{name}.json"
    done = json.loads(progress.read_text()) if progress.exists() else {"cases": 0, "faults": 0}
    reader = READERS[name]
    seeds = reader.cases(name)
    with tempfile.TemporaryDirectory() as place:
        for number in range(done["cases"], cases):
            content = mutated(seeds, number, name)
            what = broken(reader, content, Path(place))
            done["cases"] += 1
            if what is not None:
                done["faults"] += 1
                (out / f"{name} {number}").write_bytes(content)
                print(f"{name} {number}: {what[:200]}", flush=True)
            if number % 250 == 249 or number + 1 == cases:
                progress.write_text(json.dumps(done))
                print(f"\r{name}: {done['cases']:,} of {cases:,}, {done['faults']} faults", end="", file=sys.stderr)
    print(file=sys.stderr)
    return done


def broken(reader: Reader, content: bytes, folder: Path) -> str | None:
    """Feed a content to a reader in an empty folder; say how the rule is broken, None where it is not."""
    most, began, worked = _peak(), time.perf_counter(), time.process_time()
    what = fault(reader, content, folder)
    # On a busy machine only the processor's time says something; a wait is longer than that.
    seconds = max(time.process_time() - worked, (time.perf_counter() - began) / 10)
    if what is None and seconds > SECONDS:
        what = f"took {seconds:.1f} s"
    if what is None and (more := _peak() - most) > MEGABYTES:
        what = f"took {more:.0f} MB"
    return what


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def guided(name: str, seconds: int, out: Path) -> None:
    """Let atheris choose contents for so long, then leave; a content that breaks the rule ends it at once."""
    reader, corpus = READERS[name], out / f"{name} guided"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(reader.cases(name)):
        (corpus / f"seed {number}").write_bytes(content)
    place = Path(tempfile.mkdtemp())

    def one(content: bytes) -> None:
        if (what := broken(reader, content, place)) is not None:
            raise AssertionError(what)

    # Its own limits only catch what does not come back.
    limits = [f"-timeout={SECONDS * 10:.0f}", "-rss_limit_mb=4096", "-max_len=65536", f"-max_total_time={seconds}"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={out / name} ", *limits], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="READER", nargs="*", default=list(READERS), help=", ".join(READERS))
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument(GUIDED, metavar="READER", choices=list(READERS), dest="guided")
    parser.add_argument("--seconds", type=int, default=60, help=f"of {GUIDED}")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.guided:
        guided(arguments.guided, arguments.seconds, arguments.out)
        return
    lines = []
    for name in arguments.names:
        try:
            done = fuzz(name, arguments.cases, arguments.out)
        except Exception:
            traceback.print_exc()
            done = {"cases": 0, "faults": -1}
        lines.append(f"| {name} | {done['cases']:,} | {done['faults']} |")
    print("\n".join(["| reader | cases | faults |", "|---|---|---|", *lines]))
    sys.exit(any(not line.endswith("| 0 |") for line in lines))


if __name__ == "__main__":
    main()
