"""Mutations of well-formed files: case N of a reader is the same wherever it is made, so a run of them can go on."""

from __future__ import annotations

import random
from collections.abc import Sequence

TOKENS = [
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"0",
        b"9" * 400,
        b"9" * 5000,
        b"1.5",
        b'""',
        b"[]",
        b"{}",
    ),
    *(
        b"[" * 3000,
        b'{"a":' * 2000,
        b"&a [*a, *a]",
        b"<<: *a",
        b"!!python/object:os.system x",
        b"? ",
        b"~",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\x00",
        b"\n",
        b"\r\n",
        b"\xff\xfe",
        b"\x1b]52;c;aGk=\x07",
        b"\xed\xa0\x80",
        "²٣".encode(),
        b"..%2f../",
        b"=1+1",
    ),
    *(b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"a" * 70_000, b" ", b",", b":", b"-", b'"', b"'", b"#", b"%"),
]
"""What has made readers stumble."""


def mutated(seeds: Sequence[bytes], number: int, name: str) -> bytes:
    """Make case ``number`` of the reader ``name`` from one of its ``seeds``."""
    draw = random.Random(f"{name} {number}")
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice([1, 1, 1, 2, 3, 8])):
        at = draw.randrange(len(content) + 1)
        end = min(len(content), at + draw.choice([0, 1, 1, 2, 4, 8, 30]))
        kind = draw.randrange(7)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at:end] = b""
        elif kind == 2:
            content[at:end] = draw.choice(TOKENS)
        elif kind == 3:  # a value in a text
            content[at : _end_of_word(content, at)] = draw.choice(TOKENS)
        elif kind == 4:
            content[at:at] = content[at:end] * draw.choice([1, 2, 50])
        elif kind == 5:
            content[at:end] = draw.randbytes(end - at)
        else:
            del content[at if draw.random() < 0.3 else len(content) :]
            other = draw.choice(seeds)
            content += other[draw.randrange(len(other) + 1) :][: draw.choice([0, 20, 400])]
    return bytes(content)


def _end_of_word(content: bytearray, at: int) -> int:
    end = at
    while end < len(content) and content[end] not in b" ,:]}\n\"'":
        end += 1
    return end
