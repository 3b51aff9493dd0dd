"""reference_scores exists where a recipe has comparisons: definitions are read in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from synthvlm_dagster_tests.pictures import draw

SCRIPT = """
import json
import dagster as dg
from synthvlm_dagster.definitions import defs
from synthvlm_dagster.dataset import assets
from synthvlm_dagster.recipe import active_recipe
from synthvlm_dagster.store.storage import Storage

report = next(spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey("quality_report"))
found = {"report_waits_for": sorted(dep.asset_key.to_user_string() for dep in report.deps)}
if hasattr(assets, "reference_scores"):
    resources = {"recipe": active_recipe(), "storage": Storage(active_recipe().storage)}
    result = dg.materialize([assets.reference_scores], selection="reference_scores", resources=resources)
    (event,) = result.asset_materializations_for_node("reference_scores")
    found["rows"] = [record.data for record in event.metadata["datasets"].records]
print("FOUND" + json.dumps(found))
"""


def run(folder: Path, clip: Path, comparisons: list[dict[str, object]]) -> dict:
    recipe = {
        "name": "compared",
        "storage": "store",
        "sources": [{"name": "given", "path": "captions.txt"}],
        "generation": {"model": "maker/circles", "width": 64, "height": 64},
        "scoring": {"clip": {"model": str(clip), "pretrained": None}, "device": "cpu"},
        "selection": {"count": 1},
        "comparisons": comparisons,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    environment = {**os.environ, "SYNTHVLM_RECIPE": str(file)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict = json.loads(done.stdout.split("FOUND")[1])
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
