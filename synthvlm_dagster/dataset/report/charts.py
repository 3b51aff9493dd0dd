"""Charts as inline SVG: they need no script, print well and take their colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 22, 38
_MAP_WIDTH, _MAP_HEIGHT = 720, 400


@dataclass(frozen=True)
class Distribution:
    """Counts of one measure in bins of equal width, for all images and for the selected ones.

    Attributes:
        label: what is measured.
        low: lower edge of the first bin.
        step: width of a bin.
        everything: images per bin.
        selected: selected images per bin; as many bins.
        mean_of_everything: None when there is no image.
        mean_of_selected: None when nothing is selected.
    """

    label: str
    low: float
    step: float
    everything: tuple[int, ...]
    selected: tuple[int, ...]
    mean_of_everything: float | None
    mean_of_selected: float | None


@dataclass(frozen=True)
class Point:
    """One image in a scatter plot."""

    x: float
    y: float
    selected: bool


def round_step(span: float, parts: int) -> float:
    """The 1, 2 or 5 times a power of ten that divides `span` (> 0) into at most about `parts` parts."""
    rough = span / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def histogram(distribution: Distribution) -> Markup:
    """Bars of both groups over each other, each in percent of its own group, with the two means marked."""
    bins = len(distribution.everything)
    low, high = distribution.low, distribution.low + bins * distribution.step
    shares = [_shares(distribution.everything), _shares(distribution.selected)]
    top = max(max(group, default=0.0) for group in shares) or 1.0
    axes = _Axes(low, high, 0.0, top * 1.08)
    bars = [
        Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>').format(
            name,
            axes.x(low + number * distribution.step) + 0.5,
            axes.y(share),
            max(axes.x(low + (number + 1) * distribution.step) - axes.x(low + number * distribution.step) - 1, 0.5),
            axes.y(0) - axes.y(share),
            f"{low + number * distribution.step:.3g} to {low + (number + 1) * distribution.step:.3g}: "
            f"{shares[0][number]:.1%} of all, {shares[1][number]:.1%} of the selected",
        )
        for name, group in zip(("all", "selected"), shares, strict=True)
        for number, share in enumerate(group)
        if share
    ]
    means = [
        Markup('<g class="mean {}"><line x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/></g>').format(
            name, _TOP - 8, _HEIGHT - _BOTTOM, x=axes.x(mean)
        )
        for name, mean in (("all", distribution.mean_of_everything), ("selected", distribution.mean_of_selected))
        if mean is not None
    ]
    return _figure(
        f"Histogram of {distribution.label}: all scored images and the selected ones",
        [axes.draw(distribution.label, "share of images", "{:.0%}"), *bars, *means],
    )


def scatter(points: Sequence[Point], x_label: str, y_label: str, cutoff: tuple[float, float] | None) -> Markup:
    """A dot for every point, the selected ones on top.

    Args:
        points: at least one.
        cutoff: (weight, score) of the line x + weight · y = score, drawn dashed; None for no line.
    """
    xs, ys = [point.x for point in points], [point.y for point in points]
    axes = _Axes(*_padded(min(xs), max(xs)), *_padded(min(ys), max(ys)))
    dots = [
        Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.4"/>').format(
            "selected" if point.selected else "all", axes.x(point.x), axes.y(point.y)
        )
        for point in sorted(points, key=lambda point: point.selected)
    ]
    line = []
    if cutoff:
        weight, score = cutoff
        line = [
            Markup(
                '<line class="cutoff" clip-path="url(#plot)" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            ).format(
                axes.x(score - weight * axes.bottom),
                axes.y(axes.bottom),
                axes.x(score - weight * axes.top),
                axes.y(axes.top),
            )
        ]
    clip = Markup('<clipPath id="plot"><rect x="{}" y="{}" width="{}" height="{}"/></clipPath>').format(
        _LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    )
    return _figure(f"{y_label} against {x_label}", [clip, axes.draw(x_label, y_label, "{:.3g}"), *dots, *line])


def line(
    xs: Sequence[float], ys: Sequence[float | None], x_label: str, y_label: str, marked: float | None = None
) -> Markup:
    """A line through the points, each with its numbers when pointed at; points without a y are left out.

    Args:
        xs: ascending.
        ys: as many; at least one is not None.
        marked: the x that an upright dashed line stands at.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    low, high = min(y for _, y in points), max(y for _, y in points)
    # Differences far below what is shown in numbers would look like slopes.
    least = max(abs(high), 1.0) * 0.004
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    axes = _Axes(*_padded(xs[0], xs[-1]), *_padded(low, high))
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
    dots = [
        Markup('<circle class="selected" cx="{:.1f}" cy="{:.1f}" r="3.4"><title>{}</title></circle>').format(
            axes.x(x), axes.y(y), f"{x_label} {x:g}: {y_label} {y:.4f}"
        )
        for x, y in points
    ]
    mark = Markup("")
    if marked is not None:
        mark = Markup('<line class="cutoff" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>').format(
            _TOP, _HEIGHT - _BOTTOM, x=axes.x(marked)
        )
    drawn = Markup('<polyline class="selected" points="{}"/>').format(path)
    return _figure(f"{y_label} over {x_label}", [axes.draw(x_label, y_label, "{:.4g}"), mark, drawn, *dots])


def clouds(points: Sequence[tuple[float, float, str, str]], x_label: str, y_label: str) -> Markup:
    """A dot for every point, over each other in their order; both axes have the same scale, and no numbers.

    Args:
        points: at least one of x, y, the class of the dot, and what it says when pointed at.
    """
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    left, right = _padded(min(xs), max(xs))
    bottom, top = _padded(min(ys), max(ys))
    scale = max((right - left) / _MAP_WIDTH, (top - bottom) / _MAP_HEIGHT)
    middle_x, middle_y = (left + right) / 2, (bottom + top) / 2
    dots = [
        Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
            name, _MAP_WIDTH / 2 + (x - middle_x) / scale, _MAP_HEIGHT / 2 - (y - middle_y) / scale, caption
        )
        for x, y, name, caption in points
    ]
    labels = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{} →</text>').format(
        _MAP_WIDTH - 4, _MAP_HEIGHT - 6, x_label
    ) + Markup('<text class="axis" x="4" y="14">↑ {}</text>').format(y_label)
    return _figure(f"{y_label} against {x_label}", [labels, *dots], _MAP_WIDTH, _MAP_HEIGHT)


@dataclass(frozen=True)
class _Axes:
    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.bottom) / (self.top - self.bottom) * (_HEIGHT - _TOP - _BOTTOM)

    def draw(self, x_label: str, y_label: str, y_format: str) -> Markup:
        marks = [
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:.3g}</text>').format(
                self.x(tick), _HEIGHT - _BOTTOM + 15, tick
            )
            for tick in _ticks(self.left, self.right, 7)
        ]
        for tick in _ticks(self.bottom, self.top, 5):
            marks.append(
                Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                    _LEFT, _WIDTH - _RIGHT, y=self.y(tick)
                )
            )
            marks.append(
                Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                    _LEFT - 6, self.y(tick) + 3.5, y_format.format(tick)
                )
            )
        marks.append(
            Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_label
            )
        )
        marks.append(Markup('<text class="axis" x="4" y="12">{}</text>').format(y_label))
        return Markup("").join(marks)


def _figure(description: str, parts: Sequence[Markup], width: int = _WIDTH, height: int = _HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, description, Markup("").join(parts)
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _ticks(low: float, high: float, parts: int) -> list[float]:
    step = round_step(high - low, parts)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.04 or 0.01
    return low - pad, high + pad
