"""Distributions as text: bars that any log, terminal or markdown page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

_FULL = "█"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_BAR_WIDTH = 24


def text_histogram(series: Mapping[str, pl.Series], bins: int = 16) -> str:
    """Histograms of several sets of finite numbers over one common axis, as a markdown code block.

    Args:
        series: name and numbers of each set; every set's bars are scaled to its own fullest bin.
        bins: number of equal bins between the smallest and the largest number of all.

    Returns:
        One line per bin: its bounds, then each set's count and bar. Says so when there are no numbers.
    """
    ends: list[Any] = [end for values in series.values() if len(values) for end in (values.min(), values.max())]
    if not ends:
        return "no values"
    low, high = min(ends), max(ends)
    width = (high - low) / bins
    if width == 0:
        bins, width = 1, 1.0
    counts = {name: _counts(values, low, width, bins) for name, values in series.items()}
    heading = " " * 17 + "".join(f"{name:<{_BAR_WIDTH + 9}}" for name in series)
    lines = [heading.rstrip()]
    for number in range(bins):
        bounds = f"{low + number * width:7.4f}…{min(low + (number + 1) * width, high):7.4f}"
        bars = "".join(
            f"  {count[number]:>6} {_bar(count[number], max(count)):<{_BAR_WIDTH}}" for count in counts.values()
        )
        lines.append((bounds + bars).rstrip())
    return "```\n" + "\n".join(lines) + "\n```"


def _counts(values: pl.Series, low: float, width: float, bins: int) -> list[int]:
    bin_of = ((values.cast(pl.Float64) - low) / width).floor().clip(0, bins - 1).cast(pl.Int64)
    found = dict(bin_of.value_counts().iter_rows())
    return [found.get(number, 0) for number in range(bins)]


def _bar(count: int, most: int) -> str:
    eighths = round(8 * _BAR_WIDTH * count / most) if most else 0
    return _FULL * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
