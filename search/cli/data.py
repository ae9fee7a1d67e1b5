"""Commands that look at data sets: ``data check``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boostformer.errors import UserError
from boostformer.files import expanded, is_folder, located
from boostformer.shown import number_of
from results.tables import Format, tabulate, to_json
from search.cli.data_argument import (
    BackgroundOption,
    ClassesOption,
    ColoursOption,
    IgnoreOption,
    data_of,
    meaning_of,
    with_kind,
    with_meaning,
)
from search.cli.output import FormatOption, between_words, next_step, note, progress, width

if TYPE_CHECKING:
    from boostformer.data.check import Report
    from boostformer.data.config import DataConfig

MANY_FILES = 200
"""Number of files from which on their reading is shown."""
MOST_ALIKE = 20
"""Most files with one fault that a table shows; JSON has all."""

data = typer.Typer(help="Look at a data set.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the program."""
    data.command()(check)
    app.add_typer(data, name="data")


@data.callback()
def _group(context: typer.Context) -> None:
    """Make a group of a single command; show the help where it is not given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def check(
    which: Annotated[
        str, typer.Argument(metavar="RUN.yaml|DIR", help="A run file, or a data set's folder.", show_default=False)
    ],
    kind: Annotated[str | None, typer.Option(help="Layout of the data set, where it is not to be recognised.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    background: BackgroundOption = None,
    colours: ColoursOption = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Also draw up to 24 samples with their classes in colour.")
    ] = None,
    fmt: FormatOption = Format.table,
) -> None:
    """Read a whole data set: what it holds, what follows from that, and every fault at once; exit code 2 with any."""
    from boostformer.data.cache import data_cache
    from boostformer.data.cache_entries import UNUSED_DAYS
    from boostformer.data.check import check as examine
    from boostformer.data.contact_sheet import draw_contact_sheet

    if fmt is Format.csv:
        raise UserError("--format: 'csv' has no place for a report; allowed: table, json")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet: '{sheet}' does not end in .png")
    config = with_meaning(with_kind(_data(which), kind), meaning_of(classes, ignore, background, colours))
    with progress("files read") as tell:

        def show(done: int, total: int) -> None:
            if total >= MANY_FILES:
                tell(done, total)

        report = examine(config, data_cache(), show)
    if fmt is Format.json:
        print(to_json(report.to_dict() | {"cache": _cache()}), end="", flush=True)
    else:
        print(worded(report), end="", flush=True)
        held = _cache()
        size, folder = f"{held['bytes'] / 1e6:,.1f} MB", held["folder"]
        said = f"{size} of all data sets in {folder}; what is not used for {UNUSED_DAYS} days is removed"
        print(_lines([("cache", said)]), end="", flush=True)
    if sheet is not None:
        if report.meaning is None:
            note(f"{sheet}: not drawn, since it is not known what mask values mean")
        else:
            count = draw_contact_sheet(report.samples, report.meaning, sheet, config.reading)
            note(f"drawn: {sheet}, {number_of(count, 'sample')}")
    if report.faults:
        raise typer.Exit(2)
    if is_folder(expanded(which)):
        given = {"kind": kind, "classes": classes, "ignore": ignore, "background": background, "colours": colours}
        options = [word for name, text in given.items() if text is not None for word in (f"--{name}", text)]
        next_step(shlex.join(["boostformer", "init", which, *options, "--out", "run.yaml"]), fmt=fmt)
    else:
        next_step(shlex.join(["boostformer", "search", which, "--out", f"runs/{Path(which).stem}"]), fmt=fmt)


def _cache() -> dict[str, Any]:
    """Say how much the cache holds, of all data sets together."""
    from boostformer.data.cache import data_cache
    from boostformer.data.cache_entries import size_of_cache

    folder = data_cache()
    entries, size = size_of_cache(folder)
    return {"folder": str(folder), "entries": entries, "bytes": size}


def _data(which: str) -> DataConfig:
    """Read what data are meant; those of a folder have no size of their own."""
    from boostformer.data.config import DataConfig

    path = expanded(which)
    if is_folder(path):
        return DataConfig(root=located(path))
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"'{which}' is neither a folder nor a run file; allowed: a data set's folder, or RUN.yaml")
    config = data_of(which, None, None, (0, 0))
    if config.root is None:
        raise UserError(f"{which}: its data are generated scenes, so there are no files to check")
    return config


def worded(report: Report) -> str:
    """Write a report for people."""
    summary = report.summary
    blocks: list[str] = []
    if summary is not None:
        files = ", ".join(f"{count} {form}" for form, count in report.forms.items())
        counts = ", ".join(f"{count} {split}" for split, count in summary.images.items())
        lines = [("layout", summary.found), ("images", f"{counts}; as stored {files or 'unreadable'}")]
        if (sizes := summary.sizes) is not None:
            low, middle, high = (f"{w}x{h}" for h, w in (sizes.smallest, sizes.median, sizes.largest))
            several = f"{sizes.distinct} sizes: smallest {low}, median {middle}, largest {high}"
            lines.append(("sizes", f"{low if sizes.distinct == 1 else several} (width x height)"))
        if rows := _class_rows(report):
            blocks.append(_lines([("data", str(report.root)), *lines]))
            drop = [column for column in reversed(rows[0]) if column.endswith("images %")]
            blocks.append(tabulate(rows, columns=list(rows[0]), width=width(), drop=drop))
            ignored = summary.share(summary.ignored)
            lines = [("ignored", f"{ignored or 0:.1%} of the pixels")]
        else:
            lines.insert(0, ("data", str(report.root)))
        lines += [("never", name) for name in report.never]
        lines += [("only", f"{split}: {name}") for name, split in report.alone.items()]
        lines += _duplicates(report)
        blocks.append(_lines(lines))
    blocks.append(_lines([("advice", line) for line in report.advice]))
    blocks.append(_lines([("remark", line) for line in report.remarks]))
    blocks.append(_faults(report))
    return "".join(blocks)


def _class_rows(report: Report) -> list[dict[str, Any]]:
    from boostformer.data.mask_values import ranges

    assert report.summary is not None
    rows = []
    for one in report.summary.to_dict()["classes"]:
        row: dict[str, Any] = {"class": one["class"], "value": ranges(one["values"])}
        for what in ("pixels", "images"):
            row |= {f"{split} {what} %": 100 * share for split, share in one[what].items()}
        rows.append(row)
    return rows


def _duplicates(report: Report) -> list[tuple[str, str]]:
    from boostformer.data.check import SAME

    lines = [("twice", f"{len(report.duplicates) or 'no'} images, by the {SAME}")]
    for what, is_between in (("between splits", True), ("within a split", False)):
        some = [one for one in report.duplicates if one.is_between is is_between]
        for one in some[:MOST_ALIKE]:
            more = f" and {len(one.files) - MOST_ALIKE} more" if len(one.files) > MOST_ALIKE else ""
            lines.append(("twice", f"{what}: {' = '.join(one.files[:MOST_ALIKE])}{more}"))
        if len(some) > MOST_ALIKE:
            lines.append(("twice", f"{what}: and {len(some) - MOST_ALIKE} more, with --format json"))
    return lines


def _faults(report: Report) -> str:
    """List the faults; of many files with the same one the first."""
    if not report.faults:
        return _lines([("faults", "none")])
    alike: dict[tuple[str, str], list[str]] = {}
    for one in report.faults:
        alike.setdefault((one.fault, one.remedy), []).append(one.file)
    lines = [("faults", str(len(report.faults)))]
    for (fault, remedy), files in alike.items():
        lines += [("fault", f"{file}: {fault}; {remedy}") for file in files[:MOST_ALIKE]]
        if len(files) > MOST_ALIKE:
            lines.append(("fault", f"and {len(files) - MOST_ALIKE} more files: {fault}; --format json lists them"))
    return _lines(lines)


def _lines(lines: list[tuple[str, str]]) -> str:
    whole, columns = "".join(f"{name:<8} {text}\n" for name, text in lines), width()
    return whole if columns is None else between_words(whole, columns)
