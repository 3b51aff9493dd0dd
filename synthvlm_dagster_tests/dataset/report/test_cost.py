"""The time of every image is shared out over the pairs that were kept."""

import pytest

from synthvlm_dagster.dataset.report.cost import GENERATION, SCORING, cost_per_pair
from synthvlm_dagster.orchestration.work import Work


def test_rates_are_measured_and_all_images_are_paid_for() -> None:
    work = {GENERATION: Work(50, 90.0, 10.0, on_gpu=True), SCORING: Work(100, 5.0)}
    cost = cost_per_pair(work, {GENERATION: 200, SCORING: 200}, pairs=20, price_per_hour=1.8)
    assert cost is not None
    generation, scoring = cost.stages
    assert (generation.seconds_per_image, generation.seconds_per_pair) == pytest.approx((2.0, 20.0))
    assert (scoring.seconds_per_image, scoring.seconds_per_pair) == pytest.approx((0.05, 0.5))
    assert cost.seconds_per_pair == pytest.approx(20.5)
    assert cost.dollars_per_pair == pytest.approx(20.5 * 1.8 / 3600)
    assert cost.unit == "GPU-seconds"


def test_without_a_price_there_are_no_dollars() -> None:
    cost = cost_per_pair({SCORING: Work(10, 5.0)}, {SCORING: 10}, pairs=1, price_per_hour=None)
    assert cost is not None
    assert cost.dollars_per_pair is None
    assert cost.stages[0].dollars_per_pair is None
    assert cost.unit == "Seconds"


@pytest.mark.parametrize(("work", "pairs"), [({}, 3), ({GENERATION: Work()}, 3), ({GENERATION: Work(5, 1.0)}, 0)])
def test_nothing_known_or_kept_has_no_cost(work: dict[str, Work], pairs: int) -> None:
    assert cost_per_pair(work, {GENERATION: 5, SCORING: 5}, pairs, 1.0) is None
