"""300 mutated contents for each reader of what comes from elsewhere, and all that was found before."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import pytest
from fuzz_mutations import mutated
from fuzz_readers import READERS, fault

CASES = 300


@pytest.mark.parametrize("name", READERS)
def test_mutated_contents_are_read_or_refused_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the test
    reader, faults = READERS[name], []
    seeds = reader.cases(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in seeds[: len(reader.seeds())]:
            reader.feed(content, tmp_path)  # the well-formed ones are read
        for number, content in enumerate([*seeds, *(mutated(seeds, number, name) for number in range(CASES))]):
            began = time.process_time()
            if (what := fault(reader, content, tmp_path)) is not None:
                faults.append(f"{number - len(seeds)}: {what}")
            assert time.process_time() - began < 10, f"{number - len(seeds)} takes {time.process_time() - began:.0f} s"
    assert not faults
