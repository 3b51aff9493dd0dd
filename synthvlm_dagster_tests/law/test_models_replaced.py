"""A model whose files are replaced while a run works with it: nothing stands under the name of other weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.instant import InstantGenerator, InstantJudge, InstantScorer
from synthvlm_dagster_tests.law.world import WEIGHTS


@pytest.mark.parametrize(
    ("model", "during", "file"),
    [
        (InstantGenerator, "load", "models/painter/weights.safetensors"),
        (InstantGenerator, "denoise", "models/painter/weights.safetensors"),
        (InstantScorer, "score", "models/clip/weights.safetensors"),
        (InstantJudge, "load", "models/siglip/weights.safetensors"),
    ],
)
def test_a_model_replaced_during_a_run(
    begin_history: Callable[[], History],
    monkeypatch: pytest.MonkeyPatch,
    model: type,
    during: str,
    file: str,
) -> None:
    """While it is loaded, or after: the run fails, and the next leaves what a fresh one would make."""
    history = begin_history()
    project = history.project
    project.world.set("scoring.judges", {"siglip": {"model": "@/models/siglip"}})
    first, again = WEIGHTS
    real = getattr(model, during)
    with monkeypatch.context() as patched:
        calls: list[None] = []

        def replacing(*given: Any) -> Any:
            result = real(*given)
            if not calls:
                project.world.write(file, again)
            calls.append(None)
            return result

        patched.setattr(model, during, replacing)
        ran = project.run()
        assert calls
    assert not ran.succeeded
    assert "its files have been changed while this run works with them" in str(ran.launched)
    history.run()
    # And back: what was made in the meantime is not taken for what the first weights give.
    project.world.write(file, first)
    history.run()
    project.close()
