"""Charts, as SVG for pages and PNG for Dagster: the same bytes for the same figures.

Belongs here: drawing, with matplotlib, never through its global state. Figures are rounded to what an eye
can see; the exact ones stand in the tables beside. Amounts become floats here and nowhere else, to be drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cops_dagster.money import footing
from cops_dagster.reconciliation import bridge

if TYPE_CHECKING:
    from decimal import Decimal

    from cops_dagster.money.footing import Kind

PNG_DPI = 70
"""Of 5.4 inches: 378 pixels and some 8 kB, since each goes into Dagster's event log."""
INK, LEVEL, UP, DOWN, PART, LINE = "#1b2733", "#33506b", "#b4552d", "#2f7d5b", "#8aa3ba", "#c9d2da"
CHANGE = "#6d8fb3"
"""A step of the bridge: markup is no alarm and own cost no success. UP and DOWN are floor and target."""


@dataclass(frozen=True)
class Chart:
    """A drawn figure and what it shows."""

    title: str
    figure: Any

    def svg(self) -> str:
        """As text to stand in a page: small, searchable, read aloud."""
        from markupsafe import escape

        drawn = io.StringIO()
        self.figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = drawn.getvalue()
        body = text[text.index("<svg") :]
        head, rest = body.split(">", 1)
        size = head[head.index("viewBox") :].split('"')[1]
        opened = f'<svg viewBox="{size}" role="img" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        return f"{opened}<title>{escape(self.title)}</title>{rest.strip()}"

    def png(self) -> bytes:
        """As a small picture on white: Dagster's pages are light or dark."""
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
        return drawn.getvalue()


def waterfall(steps: Sequence[tuple[str, Kind, Decimal, Decimal]]) -> Chart:
    """The bridge as horizontal bars, labelled in finance's words and in whole dollars that add up.

    Args:
        steps: name, kind (level, change, part), amount and where the bar ends, USD.
    """
    exact = {name: usd for name, _, usd, _ in steps}
    steps = [step for step in steps if bridge.is_shown(step[0], exact)]
    labels = footing.told([(kind, usd) for _, kind, usd, _ in steps], places=0)
    figure, axes = _canvas(5.4, 0.3 * len(steps) + 0.2)
    reach = max((abs(float(end)) for _, _, _, end in steps), default=0.0) or 1.0
    part_from = 0.0
    for at, ((_, kind, amount, end), label) in enumerate(zip(steps, labels, strict=True)):
        usd, stop = float(amount), float(end)
        left = 0.0 if kind == "level" else stop - usd
        if kind == "part":
            left, part_from = part_from, part_from + usd
        elif kind == "level":
            part_from = 0.0
        colour = {"level": LEVEL, "part": PART}.get(kind, CHANGE)
        axes.barh(at, usd, left=left, height=0.62, color=colour)
        sign = "+" if kind == "change" and label.strip("-0") and usd > 0 else ""
        axes.text(max(left, left + usd) + 0.012 * reach, at, sign + label, va="center", size=9, color=INK)
    axes.set_yticks(range(len(steps)), [bridge.told(name, usd) for name, _, usd, _ in steps], size=9)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, *(float(end) for _, _, _, end in steps)) if steps else 0, reach * 1.2)
    axes.xaxis.set_visible(False)
    axes.axvline(0, color=LINE, linewidth=1)
    return Chart("From AWS's bill to our invoices, USD", figure)


def trend(months: Sequence[tuple[str, Decimal | None]], target: Decimal, floor: Decimal) -> Chart:
    """Tag coverage over months, with its target and its floor, in percent."""
    figure, axes = _canvas(5.4, 2.4)
    known = [(at, float(value)) for at, (_, value) in enumerate(months) if value is not None]
    axes.axhline(float(target), color=DOWN, linewidth=1, linestyle=(0, (4, 3)))
    axes.axhline(float(floor), color=UP, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(
        [at for at, _ in known], [value for _, value in known], color=LEVEL, linewidth=1.8, marker="o", ms=5
    )
    for at, value in known:
        axes.annotate(f"{value:.2f}", (at, value), (0, 7), textcoords="offset points", size=9, ha="center")
    low = min([value for _, value in known] + [float(floor)])
    axes.set_ylim(low - (100 - low) * 0.25 - 0.2, 100 + (100 - low) * 0.35 + 0.3)
    axes.set_xticks(range(len(months)), [month for month, _ in months], size=9)
    axes.set_xlim(-0.5, max(0.5, len(months) - 0.5))
    for limit, name, colour, lift in ((target, "target", DOWN, 4), (floor, "floor", UP, -11)):
        axes.annotate(
            f"{name} {limit:f}",
            (1, float(limit)),
            (0, lift),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            size=9,
            color=colour,
            ha="right",
        )
    axes.yaxis.set_visible(False)
    return Chart("Tag coverage, percent of coverable cost", figure)


def flows(arrows: Sequence[tuple[str, str, Decimal]]) -> Chart:
    """Who sends how much to whom, as boxes in columns: those that nobody sends to stand at the left.

    Args:
        arrows: from, to, USD; whoever sends nothing on stands at the right.
    """
    names = list(dict.fromkeys(name for tail, head, _ in arrows for name in (tail, head)))
    ends = [name for name in names if all(tail != name for tail, _, _ in arrows)]
    fed = {head for _, head, _ in arrows}
    column = {name: 0 for name in names if name not in fed} or {names[0]: 0}
    while more := {
        head: column[tail] + 1 for tail, head, _ in arrows if tail in column and head not in column
    }:
        column |= more
    column |= dict.fromkeys(ends, max(column.values()) + (not ends))
    rows: dict[int, list[str]] = {}
    for name in names:
        rows.setdefault(column.get(name, 0), []).append(name)
    place = {name: (at * 2.7, -float(row)) for at, held in rows.items() for row, name in enumerate(held)}
    figure, axes = _canvas(2.6 * len(rows), 0.9 * max(map(len, rows.values())) + 0.4)
    for tail, head, usd in arrows:
        (x, y), (to_x, to_y) = place[tail], place[head]
        bent = {"arrowstyle": "-|>", "color": LINE, "connectionstyle": "arc3,rad=0.15", "shrinkA": 24}
        axes.annotate("", (to_x, to_y), (x, y), arrowprops=bent | {"shrinkB": 24})
        middle = (x + (to_x - x) * 0.42, y + (to_y - y) * 0.42)
        axes.text(*middle, f"{usd:,.2f}", size=8, color=INK, ha="center", va="center")
    for name, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": PART}
        axes.text(x, y, name.replace("$", r"\$"), size=8, color=INK, ha="center", va="center", bbox=box)
    axes.set_xlim(-1.2, max(x for x, _ in place.values()) + 1.2)
    axes.set_ylim(min(y for _, y in place.values()) - 0.5, 0.5)
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    return Chart("Pools that feed one another, USD", figure)


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: small, searchable, read aloud
    mpl.rcParams["svg.hashsalt"] = "cops"  # else every drawing has other ids
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    return figure, axes
