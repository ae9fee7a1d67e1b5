"""Whatever is given on the command line or in a run file is answered by one line, in any encoding."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest

from search.cli import program
from search.config.limits import Limit


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["boostformer", *words])
    with pytest.raises(SystemExit) as ended:
        program.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1 and len(said) < 2100
    assert said.rstrip("\n").isprintable()
    return said


@pytest.fixture(autouse=True)
def formatters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler())


@pytest.mark.parametrize(
    "text",
    [
        "budgets: {params: 1e308G}",
        "budgets: {baseline: segformer_b0, params: 1e308%}",
        "budgets: {latency_ms: 1e999}",
        f"budgets: {{params: {'9' * 5000}}}",
        f"budgets: {{params: 0x{'f' * 5000}}}",
        'data: {root: "a\\0b"}',
        f"data: {{size: {'9' * 5000}x64}}",
        'objectives: ["\\e]52;c;aGk=\\a"]',
        f"search: {{strategy: {'a' * 10**5}}}",
        f"search: {{seed: {'[' * 10_000}",
    ],
)
def test_a_run_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "run.yaml").write_text(f"space: tiny\n{text}\n")
    out = str(tmp_path / "out")
    assert "run.yaml" in refused(capsys, monkeypatch, "search", str(tmp_path / "run.yaml"), "--out", out)


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "no\ud800such"),
        ("profile", "a\x1b[2J"),
        ("profile", "a" * 10**5),
        ("profile", "segformer_b0", "--size", "9" * 5000 + "x64"),
        ("inspect\x1b[2J",),
    ],
)
def test_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    refused(capsys, monkeypatch, *words)


def test_an_output_that_is_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its encoding lacks is written by its number, on both outputs."""
    for stream, words in (("stdout", ["recipes"]), ("stderr", ["profile", "nö…such"])):
        written = io.BytesIO()
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(written, encoding="ascii", write_through=True))
        monkeypatch.setattr(sys, "argv", ["boostformer", *words])
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == (0 if stream == "stdout" else 2)
        assert written.getvalue().isascii() and rb"\u2" in written.getvalue()


@pytest.mark.parametrize("trial", ["²", "9" * 5000, "-1", "٣"])
def test_a_trial_is_named_by_plain_digits(trial: str) -> None:
    from search.cli.arch_argument import trial_named

    assert trial_named(trial) == trial
    assert trial_named("12") == 12


@pytest.mark.parametrize("value", ["1e308G", "1e308%", "1e999", "inf", "nan", "9" * 5000, "-1", "1e16"])
def test_a_limit_is_finite_whatever_its_unit(value: str) -> None:
    with pytest.raises(ValueError, match="is not a limit") as caught:
        Limit.read("params", value)
    assert len(str(caught.value)) < 300
