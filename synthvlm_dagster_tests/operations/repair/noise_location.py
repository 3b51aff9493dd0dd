"""The project's code location with images of noise, made by a process that can be stopped at a known place.

A file `gate` beside the recipe's store holds a number: after so many batches a process writes a file `waiting`, and
waits until the gate is gone.
A file `seeds` there gets every seed that was drawn.
"""

import itertools
import time
from pathlib import Path

import synthvlm_dagster.images.generators
from synthvlm_dagster.definitions import defs
from synthvlm_dagster.recipe.active import active_recipe
from synthvlm_dagster_tests.images.noise import NoiseGenerator

_FOLDER = Path(active_recipe().storage).parent
_batches = itertools.count()


def _wait_at_gate() -> None:
    gate = _FOLDER / "gate"
    batch = next(_batches)
    while gate.exists() and batch >= int(gate.read_text()):
        (_FOLDER / "waiting").touch()
        time.sleep(0.05)


def _noise(_: object) -> NoiseGenerator:
    return NoiseGenerator(_FOLDER / "seeds", on_denoise=_wait_at_gate)


synthvlm_dagster.images.generators.DiffusersGenerator = _noise  # type: ignore[assignment,misc]

__all__ = ["defs"]
