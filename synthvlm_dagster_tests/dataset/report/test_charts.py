"""Charts are well-formed SVG whose marks stand where the numbers say."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.dataset.report.charts import Distribution, Point, histogram, round_step, scatter

finite = st.floats(-1, 2, allow_nan=False)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def marks(svg: str, tag: str, group: str) -> list[dict[str, str]]:
    return [element.attrib for element in parsed(svg).iter(tag) if element.get("class") == group]


def test_bars_are_as_high_as_the_shares() -> None:
    chart = histogram(Distribution("SSIM", 0.5, 0.1, (1, 0, 3), (0, 0, 2), 0.7, 0.75))
    everything = marks(chart, "rect", "all")
    selected = marks(chart, "rect", "selected")
    assert (len(everything), len(selected)) == (2, 1)
    low, high = (float(bar["height"]) for bar in everything)
    assert high == pytest.approx(3 * low, rel=0.01)
    assert float(selected[0]["height"]) == pytest.approx(4 * low, rel=0.01)
    assert float(selected[0]["x"]) == pytest.approx(float(everything[1]["x"]))


def test_labels_are_escaped() -> None:
    chart = histogram(Distribution("<b>&", 0.0, 0.1, (1,), (1,), 0.05, 0.05))
    assert "<b>" not in chart
    assert "<b>&" in [element.text for element in parsed(chart).iter("text")]


@given(points=st.lists(st.builds(Point, finite, finite, st.booleans()), min_size=1, max_size=30))
def test_every_point_stands_inside_the_plot(points: list[Point]) -> None:
    chart = scatter(points, "CLIPScore", "SSIM", (0.5, 0.8))
    dots = list(parsed(chart).iter("circle"))
    assert len(dots) == len(points)
    assert sum(dot.get("class") == "selected" for dot in dots) == sum(point.selected for point in points)
    assert all(0 <= float(dot.attrib["cx"]) <= 460 and 0 <= float(dot.attrib["cy"]) <= 240 for dot in dots)


@given(
    counts=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=40),
    low=finite,
    step=st.floats(1e-4, 0.5),
)
def test_any_histogram_can_be_drawn(counts: list[tuple[int, int]], low: float, step: float) -> None:
    everything, selected = zip(*counts, strict=True)
    chart = histogram(Distribution("x", low, step, everything, selected, None, None))
    bars = marks(chart, "rect", "all") + marks(chart, "rect", "selected")
    assert len(bars) == sum(count > 0 for count in (*everything, *selected))
    assert all(math.isfinite(float(bar["height"])) and float(bar["y"]) >= 0 for bar in bars)


@given(span=st.floats(1e-6, 1e6), parts=st.integers(2, 40))
def test_steps_are_round_and_about_as_many_as_asked(span: float, parts: int) -> None:
    step = round_step(span, parts)
    leading = step / 10 ** math.floor(math.log10(step * 1.0000001))
    assert min(abs(leading - factor) for factor in (1, 2, 5)) < 1e-6
    assert parts / 2.6 <= span / step <= parts * 1.01
