"""Tables for publications: Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from boostformer.errors import UserError, nearest

FORMATS = ("markdown", "latex")


def typeset(rows: Sequence[Mapping[str, str]], columns: Sequence[str], fmt: str) -> str:
    """Write rows of texts as a table that ends in one newline; texts stand to the left, the others to the right.

    LaTeX needs the package booktabs.

    Args:
        rows: texts by column.
        columns: in order; the first names the rows.
        fmt: one of :data:`FORMATS`.

    Raises:
        UserError: ``fmt`` is another.
    """
    import pandas

    if fmt not in FORMATS:
        raise UserError(f"unknown format '{fmt}'; {nearest(fmt, FORMATS)}")
    frame = pandas.DataFrame([{column: row[column] for column in columns} for row in rows], columns=list(columns))
    if fmt == "latex":
        return frame.to_latex(index=False, escape=True, column_format="l" + "r" * (len(columns) - 1))
    frame = frame.map(lambda text: text.replace("|", "\\|"))
    align = ["left", *["right"] * (len(columns) - 1)]
    return f"{frame.to_markdown(index=False, disable_numparse=True, colalign=align)}\n"
