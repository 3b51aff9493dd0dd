from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.recipe import Generation
from synthvlm_dagster_tests.images.generators.tiny_models import SIZE, save_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the pipeline folder of a family; see `save_tiny`."""
    root = tmp_path_factory.mktemp("families")

    def folder(family: str) -> Path:
        return root / family if (root / family).exists() else save_tiny(family, root / family)

    return folder


@pytest.fixture(scope="session")
def make_generator(tiny_model: Callable[[str], Path]) -> Callable[..., DiffusersGenerator]:
    """Makes generators of a tiny model, in float32 on the CPU; keyword arguments change `generation`."""

    def make(family: str, **changed: Any) -> DiffusersGenerator:
        settings: dict[str, Any] = {
            "model": str(tiny_model(family)),
            "num_inference_steps": 3,
            "guidance_scale": 3.0,
            "width": SIZE,
            "height": SIZE,
            "dtype": "float32",
            "device": "cpu",
        }
        return DiffusersGenerator(Generation.model_validate(settings | changed))

    return make
