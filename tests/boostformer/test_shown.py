"""What others wrote is safe to be shown: in a terminal, in a line, in a spreadsheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boostformer.shown import LONGEST_LINE, csv_cell, number_of, one_line, printable


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("road\x1b]52;c;aGk=\x07", r"road\x1b]52;c;aGk=\x07"),
        ("a\rb\x9b2J\x00\x7f", r"a\x0db\x9b2J\x00\x7f"),
        ("a\ud800b", r"a\ud800b"),
        ("a\u202eb\u2028c", r"a\u202eb\u2028c"),
        ("Straße – 道路\n\tcol", "Straße – 道路\n\tcol"),
    ],
)
def test_a_terminal_obeys_nothing(given_text: str, shown: str) -> None:
    assert printable(given_text) == shown


@given(st.text(st.characters(), max_size=40))
def test_what_is_printable_stays_so_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert all(letter in "\n\t" or ord(letter) >= 32 for letter in shown)
    shown.encode()


def test_a_message_is_one_line_that_ends() -> None:
    assert one_line("a\nb\t c\x1b") == r"a b c\x1b"
    assert len(one_line("a" * 10**6)) == LONGEST_LINE + 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1, -0.5, None, True, "road", "", "a=1"])
def test_another_cell_stays(value: object) -> None:
    assert csv_cell(value) is value


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [(0, "image", "0 images"), (1, "image", "1 image"), (2, "image", "2 images"), (1, "class", "1 class")],
)
def test_a_count_has_its_noun(count: int, noun: str, said: str) -> None:
    assert number_of(count, noun) == said
    assert number_of(3000, "class", ",") == "3,000 classes"
