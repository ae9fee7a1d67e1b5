"""Names of studies, and what a server says for a while."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy.exc import InternalError

from boostformer.errors import UserError
from results.storage.database import READ_ONLY, outage
from results.storage.location import LONGEST_STUDY, STORAGE_NAME, Database, storage_of

URL = "postgresql://me@localhost/runs"


@pytest.mark.parametrize("study", ["", "a" * (LONGEST_STUDY + 1), "a\0b", "a\x1b[2J", "a\ud800", "a\nb"])
def test_a_study_has_a_name_that_can_be_kept_and_shown(tmp_path: Path, study: str) -> None:
    with pytest.raises(UserError, match="a name has 1 to 200 printable characters"):
        Database(URL, study)
    (tmp_path / STORAGE_NAME).write_text(json.dumps({"url": URL, "study": study}))
    with pytest.raises(UserError):
        storage_of(tmp_path)
    assert Database(URL, "a" * LONGEST_STUDY).study


class Refused(Exception):
    """What the driver raises."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("cannot execute INSERT in a read-only transaction")
        self.sqlstate = sqlstate


def test_a_server_that_takes_no_writing_is_waited_for() -> None:
    found = outage(InternalError("INSERT", {}, Refused(READ_ONLY)))
    assert found == "cannot execute INSERT in a read-only transaction"
    assert outage(InternalError("INSERT", {}, Refused("XX000"))) is None
