"""reference_scores exists where a recipe has comparisons."""

from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from synthvlm_dagster.dataset.assets import reference_scores
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import parse_recipe
from synthvlm_dagster_tests.pictures import draw


def run(folder: Path, clip: Path, comparisons: list[dict[str, object]]) -> dict[str, Any]:
    settings = {
        "name": "compared",
        "storage": "store",
        "sources": [{"name": "given", "path": "captions.txt"}],
        "generation": {"model": "maker/circles", "width": 64, "height": 64},
        "scoring": {"clip": {"model": str(clip), "pretrained": None}, "device": "cpu"},
        "selection": {"count": 1},
        "comparisons": comparisons,
    }
    recipe = parse_recipe(yaml.safe_dump(settings), folder / "recipe.yaml")
    specs = {spec.key.to_user_string(): spec for spec in build_definitions(recipe).resolve_all_asset_specs()}
    waits_for = sorted(dep.asset_key.to_user_string() for dep in specs["quality_report"].deps)
    found: dict[str, Any] = {"report_waits_for": waits_for}
    if "reference_scores" in specs:
        result = dg.materialize([reference_scores(Dataset(recipe))], selection="reference_scores")
        (event,) = result.asset_materializations_for_node("reference_scores")
        found["rows"] = [record.data for record in event.metadata["datasets"].records]
    return found


def test_it_is_there_with_comparisons_and_its_table_in_dagster_says_what_went_wrong(
    tmp_path: Path, tiny_clip_folder: Path
) -> None:
    draw("photo", 80, 60).save(tmp_path / "0.png")
    (tmp_path / "web.csv").write_text("caption,image\na photo,0.png\nanother,gone.png\n")
    columns = {"text": "caption", "image": "image"}
    comparisons: list[dict[str, object]] = [
        {"name": "web", "path": "web.csv", "columns": columns, "image_root": "."},
        {"name": "lost", "path": "nothing.json"},
    ]
    found = run(tmp_path, tiny_clip_folder, comparisons)
    assert "reference_scores" in found["report_waits_for"]
    web, lost = found["rows"]
    assert (web["pairs"], web["unreadable"], web["problem"]) == (1, 1, "once the image is missing")
    assert 0 <= web["clip_score"] <= 1
    assert "no such file" in lost["problem"]


def test_it_is_not_there_without(tmp_path: Path, tiny_clip_folder: Path) -> None:
    found = run(tmp_path, tiny_clip_folder, [])
    assert found == {"report_waits_for": ["image_scores", "rejected_captions", "selected_pairs"]}
