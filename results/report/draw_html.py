"""Drawing of the front as one self-contained page: a panel for each cost, which shows details on hovering.

The panels stand side by side or, on a narrow screen, beneath each other; what is not a curve is plain HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import chain
from typing import Any

from plotly.graph_objects import Figure, Scatter
from plotly.offline import get_plotlyjs

from boostformer.shown import number_of
from results.report.picture import (
    BUDGET_COLOUR,
    FRONT_COLOUR,
    OTHER_COLOUR,
    REFERENCE_COLOUR,
    Axis,
    Picture,
    Reference,
    percent,
    spread,
    ticks,
)
from results.summary import human, summary
from results.trial import COSTS, MIOU, Trial

_NUMBERS = (MIOU, "miou_std", *COSTS)
_DASHES = ("dash", "dashdot", "longdash", "longdashdot")
_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}
"""The page asks nothing of the network, so no button uploads it."""
_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; color: #222; background: #fff; margin: 1rem auto; max-width: 90rem;
  padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere }
p { margin: .3rem 0; color: #555; overflow-wrap: anywhere }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .4rem; margin: .6rem 0 }
.legend button { font: inherit; font-size: .9rem; background: none; border: 1px solid #ddd; border-radius: .3rem;
  padding: .1rem .5rem; cursor: pointer; color: inherit }
.legend button[aria-pressed=false] { opacity: .4; text-decoration: line-through }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem }
.panels > * { min-width: 0 }
"""
_SCRIPT = """
for (const button of document.querySelectorAll(".legend button")) button.onclick = () => {
  const shown = button.getAttribute("aria-pressed") !== "true", name = button.dataset.name;
  button.setAttribute("aria-pressed", shown);
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const traces = plot.data.flatMap((trace, index) => trace.name === name ? [index] : []);
    const labels = (plot.layout.annotations || []).flatMap((label, index) => label.name === name ? [index] : []);
    const layout = Object.fromEntries(labels.map(index => [`annotations[${index}].visible`, shown]));
    if (traces.length) Plotly.update(plot, {visible: shown}, layout, traces);
  }
};
"""


def html(picture: Picture) -> bytes:
    panels = [_panel(picture, axis) for axis in picture.axes]
    buttons = dict.fromkeys((trace.name, *_glyph(trace)) for trace in chain(*(panel.data for panel in panels)))
    legend = "\n".join(
        f'<button type="button" aria-pressed="true" data-name="{escape(name)}">'
        f'<span aria-hidden="true" style="color: {colour}">{glyph}</span> {escape(name)}</button>'
        for name, glyph, colour in buttons
    )
    drawn = "\n".join(
        f"<div>{panel.to_html(full_html=False, config=_CONFIG, include_plotlyjs=False, div_id=axis.cost.name)}</div>"
        for panel, axis in zip(panels, picture.axes, strict=True)
    )
    notes = "\n".join(f"<p>{escape(note)}</p>" for note in picture.notes())
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(picture.title)}</title>
<style>{_STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<h1>{escape(picture.title)}</h1>
{notes}
<div class="legend" role="group" aria-label="Legend: press to hide and to show">
{legend}
</div>
<div class="panels">
{drawn}
</div>
<script>{_SCRIPT}</script>
</body>
</html>
"""
    return page.encode()


def _panel(picture: Picture, axis: Axis) -> Figure:
    low, high = picture.costs_between(axis)
    bottom, top = picture.scores_between()
    figure = Figure(_traces(picture, axis))
    for name, cost, colour, dash in _cost_lines(picture, axis):
        # Of several points, since only points are met on hovering.
        y = [bottom + (top - bottom) * step / 20 for step in range(21)]
        line = {"color": colour, "dash": dash, "width": 1.5}
        figure.add_trace(Scatter(x=[cost] * 21, y=y, mode="lines", line=line, name=name, hovertemplate="%{text}"))
        figure.data[-1].update(text=f"<b>{escape(name)}</b><br>{escape(axis.show(cost))}<extra></extra>")
        figure.add_annotation(
            x=math.log10(cost),  # on a logarithmic axis plotly places annotations by the logarithm
            y=0,
            yref="y domain",
            xanchor="right",
            yanchor="bottom",
            text=escape(name),
            textangle=-90,
            font={"color": colour, "size": 11},
            showarrow=False,
            name=name,
        )
    places = ticks(low, high)
    figure.update_xaxes(
        type="log",
        title_text=f"{axis.label}, log scale",
        range=[math.log10(low), math.log10(high)],
        tickvals=places,
        ticktext=[f"{place:g}" for place in places],
    )
    figure.update_yaxes(title_text="mIoU (%)", range=[bottom, top])
    margin = {"l": 55, "r": 12, "t": 30, "b": 50}
    figure.update_layout(
        template="plotly_white", hoverlabel_align="left", showlegend=False, height=440, margin=margin, autosize=True
    )
    return figure


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
    for reference in picture.references:
        if reference.get("miou") is not None and (cost := axis.of(reference)) is not None:
            diamond = {"color": REFERENCE_COLOUR, "size": 12, "symbol": "diamond"}
            name, y = reference["name"], [100 * reference["miou"]]
            traces.append(_markers(name, [cost], y, [_details(name, reference)], diamond))
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


def _cost_lines(picture: Picture, axis: Axis) -> list[tuple[str, float, str, str]]:
    """List the vertical lines of a panel, by name, cost in the axis's unit, colour and dash.

    They are the budget, and the references without a known mIoU.
    """
    lines = [] if (limit := picture.budget(axis)) is None else [("budget", limit, BUDGET_COLOUR, "dot")]
    for number, reference in enumerate(picture.references):
        cost = axis.of(reference)
        if cost is not None and reference.get("miou") is None:
            lines.append((reference["name"], cost, REFERENCE_COLOUR, _DASHES[number % len(_DASHES)]))
    return lines


def _glyph(trace: Scatter) -> tuple[str, str]:
    """Give a sign and a colour that stand for a trace in the legend."""
    if trace.mode == "markers":
        signs = {"diamond": "◆", "circle-open": "○"}
        return signs.get(trace.marker.symbol, "●"), trace.marker.color
    signs = {"dot": "┊", "dash": "╎", "dashdot": "╏", "longdash": "╎", "longdashdot": "╏"}
    return signs.get(trace.line.dash, "━"), trace.line.color


def _hover(trials: Sequence[Trial]) -> list[str]:
    return [
        _details(_name(trial), {column: getattr(trial, column) for column in _NUMBERS})
        + "<br>"
        + escape(summary(trial.architecture, separator="\n")).replace("\n", "<br>")
        for trial in trials
    ]


def _name(trial: Trial) -> str:
    trained = f", {number_of(trial.iterations or 0, 'iteration')}" if trial.promoted is not None else ""
    seeds = f", {trial.seeds} seeds" if trial.seeds > 1 else ""
    return f"trial {trial.number}, id {trial.id}{trained}{seeds}"


def _details(name: str, numbers: Reference) -> str:
    known = [f"{column}: {human(column, numbers[column])}" for column in _NUMBERS if numbers.get(column) is not None]
    return "<br>".join([f"<b>{escape(name)}</b>", *known])
