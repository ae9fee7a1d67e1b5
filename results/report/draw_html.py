"""Plotly drawing of the front: one self-contained page that shows details on hovering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from results.report.picture import (
    FRONT_COLOUR,
    OTHER_COLOUR,
    REFERENCE_COLOUR,
    Axis,
    Picture,
    Reference,
    percent,
    spread,
)
from results.summary import human, summary
from results.trial import COSTS, MIOU, Trial

_NUMBERS = (MIOU, "miou_std", *COSTS)


def html(picture: Picture) -> bytes:
    figure = make_subplots(rows=1, cols=len(picture.axes), shared_yaxes=True, horizontal_spacing=0.04)
    for column, axis in enumerate(picture.axes, start=1):
        for trace in _traces(picture, axis):
            trace.update(legendgroup=trace.name, showlegend=column == 1)
            figure.add_trace(trace, row=1, col=column)
        _add_cost_lines(figure, column, axis, picture.references)
        figure.update_xaxes(type="log", title_text=f"{axis.label}, log scale", dtick="D2", row=1, col=column)
    figure.update_yaxes(title_text="mIoU (%)", row=1, col=1)
    heading = f"{escape(picture.title)}<br><sub>{escape(picture.latency_note())}</sub>"
    figure.update_layout(title=heading, template="plotly_white", hoverlabel_align="left")
    page: str = figure.to_html(include_plotlyjs=True, div_id="front", config={"displaylogo": False})
    return page.encode()


def _traces(picture: Picture, axis: Axis) -> list[Scatter]:
    others, front = picture.others(), picture.front
    faint = {"color": OTHER_COLOUR, "opacity": 0.5, "size": 7}
    traces = [_markers("within budget", axis.values(others), percent(others), _hover(others), faint)]
    if shorter := picture.shorter:
        fainter = {"color": OTHER_COLOUR, "opacity": 0.25, "size": 5, "symbol": "circle-open"}
        traces.append(_markers(picture.lengths(), axis.values(shorter), percent(shorter), _hover(shorter), fainter))
    if front:
        steps = picture.staircase(axis)
        line = {"shape": "hv", "color": FRONT_COLOUR, "width": 1.5}
        name = "best mIoU up to this cost"
        x, y = axis.values(steps), percent(steps)
        traces.append(Scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip"))
        solid = {"color": FRONT_COLOUR, "size": 10, "line": {"color": "white", "width": 1}}
        traces.append(_markers("Pareto front", axis.values(front), percent(front), _hover(front), solid))
        if any(deviations := spread(front)):
            traces[-1].update(error_y={"array": deviations, "color": FRONT_COLOUR, "thickness": 1})
    measured = [r for r in picture.references if r.get("miou") is not None and axis.of(r) is not None]
    if measured:
        diamond = {"color": REFERENCE_COLOUR, "size": 12, "symbol": "diamond"}
        hover = [_details(reference["name"], reference) for reference in measured]
        costs, y = [axis.of(r) for r in measured], [100 * r["miou"] for r in measured]
        traces.append(_markers("reference", costs, y, hover, diamond))
    return traces


def _markers(name: str, x: Sequence[float | None], y: list[float], hover: list[str], marker: dict[str, Any]) -> Scatter:
    """Make a scatter of networks.

    Args:
        name: entry in the legend.
        x: cost of each network in the axis's unit; None where it is unknown.
        y: mIoU of each in %.
        hover: HTML that each shows on hovering.
        marker: plotly's settings of the markers.
    """
    template = "%{text}<extra></extra>"
    return Scatter(x=x, y=y, text=hover, hovertemplate=template, name=name, mode="markers", marker=marker)


def _add_cost_lines(figure: Figure, column: int, axis: Axis, references: Sequence[Reference]) -> None:
    """Draw a dashed line at the cost of each reference without a known mIoU.

    Args:
        figure: is drawn into.
        column: panel, counted from 1.
        axis: the panel's cost.
        references: networks to compare with.
    """
    for reference in references:
        cost = axis.of(reference)
        if cost is None or reference.get("miou") is not None:
            continue
        figure.add_vline(x=cost, line_dash="dash", line_color=REFERENCE_COLOUR, row=1, col=column)
        # On a logarithmic axis plotly places lines by the value, but annotations by its logarithm.
        figure.add_annotation(
            x=math.log10(cost),
            y=0,
            yref="y domain",
            xanchor="right",
            yanchor="bottom",
            text=escape(reference["name"]),
            textangle=-90,
            font_color=REFERENCE_COLOUR,
            showarrow=False,
            row=1,
            col=column,
        )


def _hover(trials: Sequence[Trial]) -> list[str]:
    return [
        _details(_name(trial), {column: getattr(trial, column) for column in _NUMBERS})
        + "<br>"
        + escape(summary(trial.architecture, separator="\n")).replace("\n", "<br>")
        for trial in trials
    ]


def _name(trial: Trial) -> str:
    trained = f", {trial.iterations} iterations" if trial.promoted is not None else ""
    seeds = f", {trial.seeds} seeds" if trial.seeds > 1 else ""
    return f"trial {trial.number}, id {trial.id}{trained}{seeds}"


def _details(name: str, numbers: Reference) -> str:
    known = [f"{column}: {human(column, numbers[column])}" for column in _NUMBERS if numbers.get(column) is not None]
    return "<br>".join([f"<b>{escape(name)}</b>", *known])
