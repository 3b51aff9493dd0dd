"""COCO, PartiPrompts and SynthVLM's own captions, each in its own format, through the whole pipeline."""

import json
from pathlib import Path

import polars as pl
import pytest

from synthvlm_dagster_tests.end_to_end.project import make_project

CAPTIONS = Path(__file__).parents[3] / "shared" / "data" / "captions"

SOURCES = f"""\
sources:
  - {{name: coco, path: {CAPTIONS}/coco_captions_val2017.json.gz, format: coco}}
  - {{name: partiprompts, path: {CAPTIONS}/partiprompts.tsv, format: partiprompts}}
  - {{name: synthvlm, path: {CAPTIONS}/synthvlm_init_caption.json, format: synthvlm}}
"""


@pytest.mark.skipif(not CAPTIONS.is_dir(), reason="needs the real captions in ../shared/data/captions")
def test_real_captions_become_a_dataset(tmp_path):
    project = make_project(tmp_path / "project")
    recipe = project.folder / "recipe.yaml"
    text = recipe.read_text()
    start, end = text.index("sources:"), text.index("shards:")
    text = text[:start] + SOURCES + text[end:]
    text = text.replace("{per_caption: 2}", "{per_caption: 1, max_captions: 64}").replace("count: 5", "count: 16")
    recipe.write_text(text)

    outcome = project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    storage = project.storage
    raw, curated, rejected = (storage.scan(f"captions/{name}").collect() for name in ("raw", "curated", "rejected"))
    assert dict(raw.group_by("source").len().iter_rows()) == {"coco": 25_014, "partiprompts": 1_632, "synthvlm": 4}
    assert curated.height + rejected.height == raw.height == 26_650
    assert curated["caption_id"].is_unique().all()
    assert rejected["rejected_by"].null_count() == 0
    assert 0.5 < curated.height / raw.height < 1

    assert len(set(project.image_ids())) == 64
    selected = storage.scan("dataset/selected").collect()
    assert selected.height == 16
    assert selected.join(curated, on=["caption_id", "text"], how="semi").height == 16
    scores = storage.scan("scores").select(pl.col("clip_score", "ssim")).collect()
    assert scores.height == 64
    entries = json.loads(storage.read_bytes("dataset/llava/synthvlm.json"))
    assert {entry["conversations"][1]["value"] for entry in entries} == set(selected["text"].str.strip_chars())
    report = storage.read_bytes("dataset/report/index.html").decode()
    assert "shapes-sdxl" in report
