"""Words of a search or training on its data before it begins, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from boostformer.files import replacing
from results.run import DATA_SUMMARY
from search.cli.output import note

if TYPE_CHECKING:
    from boostformer.data import SegmentationSplit


def say_data(split: SegmentationSplit) -> None:
    """Print the data's summary in three lines, and what was taken to be so without being told."""
    summary = split.summary
    for line in summary.lines() if summary is not None else ():
        note(line)
    for line in split.remarks:
        note(line)


def keep_summary(run_dir: Path, split: SegmentationSplit) -> None:
    """Write the data's summary into a run's folder, for people and scripts; no command depends on it."""
    if split.summary is not None:
        with replacing(run_dir / DATA_SUMMARY) as part:
            part.write_text(json.dumps(split.summary.to_dict(), indent=1) + "\n", encoding="utf-8")
