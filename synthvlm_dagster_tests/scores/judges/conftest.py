"""Models of the judges, each made once."""

from pathlib import Path

import pytest

from synthvlm_dagster_tests.scores.judges.tiny_models import save_linear_head, save_tiny_classifier, save_tiny_llava


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`llava`, `nsfw` (normal, nsfw), `marks` (clean, watermark, logo) and `head.safetensors` (16 → 1)."""
    folder = tmp_path_factory.mktemp("judges")
    save_tiny_llava(folder / "llava")
    save_tiny_classifier(folder / "nsfw", ["normal", "nsfw"])
    save_tiny_classifier(folder / "marks", ["clean", "watermark", "logo"], seed=1)
    save_linear_head(folder / "head.safetensors", [16, 1])
    return folder
