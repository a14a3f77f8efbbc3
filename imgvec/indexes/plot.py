"""Plots recall against latency: every measured setting, the target, and the choice.

Recall is drawn by the share that is missed, on a logarithmic axis, since the settings worth choosing among crowd below
1; latency is logarithmic too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from pathlib import Path

from imgvec.errors import MissingExtra, TargetError, UsageError
from imgvec.indexes.ladder import text
from imgvec.indexes.tuned import Point, Tuned
from imgvec.rows import VECTOR

FORMATS = (".html", ".png")

_LEAST_MISSED = 0.0005
"""Where the axis ends: a recall of 1 has no place on it."""
_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1 - _LEAST_MISSED)
_COLOURS = ("#3b82f6", "#e8590c", "#2f9e44", "#c2255c", "#9061f9", "#0c9aa8", "#b7791f", "#7a7f87")
"""Readable on white and on near-black."""
_WIDTH, _HEIGHT = 960, 540
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 40, 20, 62
_LINE = 17
"""Between labels, at least."""

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin-bottom: .25rem }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; fill: currentColor }
.grid { stroke: currentColor; opacity: .13 }
.target { stroke: currentColor; stroke-dasharray: 6 5; opacity: .75 }
.halo { paint-order: stroke; stroke: Canvas; stroke-width: 4px; stroke-linejoin: round }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .2rem 1.2rem .2rem 0; text-align: left; font-variant-numeric: tabular-nums }
i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em }
""".strip()


@dataclass(frozen=True, slots=True)
class Series:
    """The settings of one index under one filter, the cheapest first."""

    name: str
    points: tuple[Point, ...]
    chosen: Point | None


def save(path: str | Path, results: Sequence[Tuned]) -> None:
    """Write a plot of one tuning, or of several to compare: a PNG, or a self-contained HTML page.

    Raises `ImgvecError` as `check` does.
    """
    check(path)
    if Path(path).suffix.lower() == ".html":
        Path(path).write_text(page(results), encoding="utf-8")
    else:
        _save_png(Path(path), results)


def check(path: str | Path) -> None:
    """Check in advance whether the picture can be written.

    Raises `UsageError` for another ending, `MissingExtra`, and `TargetError` where the folder is not there.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: a plot file must end in {' or '.join(FORMATS)}")
    if suffix == ".png" and find_spec("matplotlib") is None:
        raise MissingExtra("plots", f"{path}: a PNG needs matplotlib", otherwise="write an .html file")
    if not Path(path).absolute().parent.is_dir():
        raise TargetError(f"{path}: no such folder")


def series(results: Sequence[Tuned]) -> list[Series]:
    """What is drawn: for each setting its recall on the queries that chose, and the chosen one's on those held out."""
    found = []
    for tuned in results:
        for choice in tuned.choices:
            filtered = choice.filter or ("all rows" if len(tuned.choices) > 1 else "")
            parts = [tuned.type if len(results) > 1 or not filtered else "", filtered]
            points = tuple(point for point in choice.points if not point.held_out)
            found.append(Series(", ".join(filter(None, parts)), points, choice.applied or choice.chosen))
    return found


def title(results: Sequence[Tuned]) -> str:
    first = results[0]
    of = first.collection if first.vector == VECTOR else f"{first.collection} ({first.vector})"
    return f"{of}: {first.measure} against latency"


def page(results: Sequence[Tuned]) -> str:
    """A self-contained HTML page."""
    drawn = series(results)
    rows = "".join(
        f'<tr><td><i style="background:{_colour(number)}"></i>{escape(each.name)}</td>'
        + (
            f"<td>{escape(text(each.chosen.params) or 'nothing to tune')}</td><td>{each.chosen.recall.mean:.4f}</td>"
            f"<td>{each.chosen.recall.low:.4f}</td><td>{each.chosen.p50_ms:.2f} ms</td>"
            f"<td>{each.chosen.p99_ms:.2f} ms</td><td>{each.chosen.qps:.0f}</td>"
            if each.chosen
            else "<td>target not reached</td>" + "<td></td>" * 5
        )
        + "</tr>"
        for number, each in enumerate(drawn)
    )
    head = "".join(
        f"<th>{name}</th>"
        for name in ("", "chosen", "recall, held out", "lower bound", "p50", "p99", "searches/s, one client")
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title(results))}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n'
        f"<h1>{escape(title(results))}</h1>\n"
        + "".join(f"<p>{escape(_sentence(tuned.summary()))}</p>\n" for tuned in results)
        + f"{_svg(results, drawn)}\n<table><tr>{head}</tr>{rows}</table>\n</html>\n"
    )


def _svg(results: Sequence[Tuned], drawn: Sequence[Series]) -> str:
    shown = [point for each in drawn for point in (*each.points, *([each.chosen] if each.chosen else []))]
    target = results[0].target
    recalls = [target, *(point.recall.mean for point in shown)]
    low = max(tick for tick in _TICKS if tick <= min(recalls))
    ticks = [tick for tick in _TICKS if tick >= low]
    times = _time_ticks([point.p50_ms for point in shown])

    def x(recall: float) -> float:
        start, end = _missed(low), _missed(1)
        return _LEFT + (_missed(recall) - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def y(milliseconds: float) -> float:
        start, end = math.log(times[0]), math.log(times[-1])
        return _HEIGHT - _BOTTOM - (math.log(milliseconds) - start) / (end - start) * (_HEIGHT - _TOP - _BOTTOM)

    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title(results))}">']
    for tick in ticks:
        at = f"{x(tick):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 20}" text-anchor="middle">{_tick_text(tick)}</text>')
    for tick in times:
        at = f"{y(tick):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 10}" y="{at}" dy=".35em" text-anchor="end">{tick:g}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 14}" text-anchor="middle">{_x_label(results)}</text>')
    parts.append(
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">latency of one search, p50 '
        "(milliseconds)</text>"
    )
    at = f"{x(target):.1f}"
    parts.append(f'<line class="target" x1="{at}" x2="{at}" y1="{_TOP}" y2="{bottom}"/>')
    parts.append(f'<text class="halo" x="{at}" y="{_TOP + 12}" dx="-6" text-anchor="end">target {target:g}</text>')
    for number, each in enumerate(drawn):
        colour = _colour(number)
        line = " ".join(f"{x(point.recall.mean):.1f},{y(point.p50_ms):.1f}" for point in _front(each.points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" opacity=".55"/>')
        for point in each.points:
            place = f'cx="{x(point.recall.mean):.1f}" cy="{y(point.p50_ms):.1f}"'
            parts.append(f'<circle {place} r="4" fill="{colour}"><title>{_tip(each, point)}</title></circle>')
    labels: list[tuple[float, float, str]] = []
    for number, each in enumerate(drawn):
        if each.chosen is None:
            continue
        point = each.chosen
        across, up = x(point.recall.mean), y(point.p50_ms)
        parts.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="8" fill="none" stroke="{_colour(number)}" stroke-width="3">'
            f"<title>{_tip(each, point)}, chosen</title></circle>"
        )
        name = f"{each.name}: " if len(drawn) > 1 else ""
        labels.append((across, up, name + (text(point.params) or "nothing to tune")))
    above = -math.inf
    for across, up, label in sorted(labels, key=lambda each: each[1]):
        # beside the mark, on the side that has room, and below the label before it
        above = max(up - 10, above + _LINE)
        anchor, shift = ("end", -14) if across > _WIDTH * 0.65 else ("start", 14)
        parts.append(
            f'<text class="halo" x="{across + shift:.1f}" y="{above:.1f}" text-anchor="{anchor}" font-weight="600">'
            f"{escape(label)}</text>"
        )
    return "\n".join([*parts, "</svg>"])


def _save_png(path: Path, results: Sequence[Tuned]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    low = results[0].target
    for number, each in enumerate(series(results)):
        colour, front = _colour(number), _front(each.points)
        axes.plot([_missed(p.recall.mean) for p in front], [p.p50_ms for p in front], color=colour, alpha=0.55)
        every = [_missed(p.recall.mean) for p in each.points], [p.p50_ms for p in each.points]
        axes.plot(*every, "o", color=colour, markersize=5, label=each.name)
        low = min([low, *(point.recall.mean for point in each.points)])
        if each.chosen:
            at = _missed(each.chosen.recall.mean), each.chosen.p50_ms
            axes.plot(*at, "o", markersize=13, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=2.5)
            axes.annotate(text(each.chosen.params), at, xytext=(10, 8), textcoords="offset points", weight="bold")
    axes.axvline(_missed(results[0].target), color="black", linestyle="--", alpha=0.7)
    ticks = [tick for tick in _TICKS if tick >= max(tick for tick in _TICKS if tick <= low)]
    axes.set_xticks([_missed(tick) for tick in ticks], [_tick_text(tick) for tick in ticks])
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(_x_label(results))
    axes.set_ylabel("latency of one search, p50 (milliseconds)")
    axes.set_title(f"{title(results)}, target {results[0].target:g}")
    axes.grid(alpha=0.2, which="both")
    axes.legend()
    figure.savefig(path, dpi=150)


def _front(points: Sequence[Point]) -> list[Point]:
    """The points that no other point beats in both recall and latency, sorted by recall."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall.mean, p.p50_ms)):
        if not front or point.p50_ms < front[-1].p50_ms:
            front.append(point)
    return front[::-1]


def _missed(recall: float) -> float:
    """A recall's place on the axis."""
    return -math.log10(max(1 - recall, _LEAST_MISSED))


def _time_ticks(milliseconds: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the least to above the greatest."""
    low = math.floor(math.log10(min(milliseconds)))
    high = math.ceil(math.log10(max(milliseconds)))
    ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= min(milliseconds))
    last = min(i for i, tick in enumerate(ticks) if tick >= max(milliseconds))
    return ticks[first : max(last, first + 1) + 1]


def _tick_text(recall: float) -> str:
    return f"≥ {recall:g}" if recall == _TICKS[-1] else f"{recall:g}"


def _x_label(results: Sequence[Tuned]) -> str:
    first = results[0]
    what = " pictures" if first.ranked == "pictures" else ""
    return f"{first.measure} (share of the exact {first.limit} nearest{what} that are found)"


def _tip(each: Series, point: Point) -> str:
    parts = [each.name, text(point.params), f"recall {point.recall.mean:.4f}", f"p50 {point.p50_ms:.2f} ms"]
    return escape(", ".join(part for part in parts if part))


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
