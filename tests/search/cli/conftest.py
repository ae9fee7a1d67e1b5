"""Data sets for the commands are written as for the tests of training."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "boostformer"))
