"""Exports killed with -9 at any moment, while they replace each other."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq

from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.huggingface import write_huggingface
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster_tests.dataset.conftest import Project, good_captions

KILLS = 6
SIZES = (12, 24)

WRITER = """
import sys
from pathlib import Path
import polars as pl
from synthvlm_dagster.dataset.exports.huggingface import write_huggingface
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.store.storage import Storage

recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
storage = Storage(recipe.storage)
selected = pl.read_parquet(sys.argv[2])
print("ready", flush=True)
while True:
    for size in map(int, sys.argv[3:]):
        storage.write_table(SELECTED, selected.head(size))
        for write in (write_llava, write_webdataset, write_huggingface):
            write(recipe, storage)
"""


def test_what_stands_after_a_kill_is_one_whole_export(make_project: Callable[..., Project], tmp_path: Path) -> None:
    project = make_project(
        good_captions(SIZES[-1]), selection={"share": 1}, exports={"webdataset": {"pairs_per_tar": 5}}
    )
    recipe, table = tmp_path / "recipe.json", tmp_path / "selected.parquet"
    recipe.write_text(project.recipe.model_dump_json())
    project.selected.write_parquet(table)
    write_card(project.recipe, project.storage)
    for write in (write_llava, write_webdataset, write_huggingface):
        write(project.recipe, project.storage)
    moments = random.Random(5)
    left_over = 0
    dataset = Path(project.storage.url("dataset"))
    command = [sys.executable, "-c", WRITER, str(recipe), str(table), *map(str, SIZES)]
    kills = 0
    # On until one has come while an export was being written.
    while kills < KILLS or (left_over == 0 and kills < 10 * KILLS):
        kills += 1
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0.05, 0.6))
            os.kill(writer.pid, signal.SIGKILL)
        for pairs in (whole_llava, whole_webdataset, whole_huggingface):
            assert pairs(dataset) in SIZES
        left_over += sum(entry.name.startswith(".tmp-") for entry in dataset.iterdir())
    assert left_over > 0
    for write in (write_llava, write_webdataset, write_huggingface):
        write(project.recipe, project.storage)
    assert not [entry for entry in dataset.iterdir() if entry.name.startswith(".tmp-")]


def whole_llava(dataset: Path) -> int:
    entries = json.loads((dataset / "llava" / "synthvlm.json").read_text())
    images = dataset / "llava" / "images"
    assert {str(path.relative_to(images)) for path in images.glob("*/*")} == {entry["image"] for entry in entries}
    return len(entries)


def whole_webdataset(dataset: Path) -> int:
    names = []
    for file in sorted((dataset / "webdataset").iterdir()):
        with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as tar:
            names += tar.getnames()
    assert len(set(names)) == len(names)
    assert len(names) % 3 == 0
    return len(names) // 3


def whole_huggingface(dataset: Path) -> int:
    folder = dataset / "huggingface"
    document = json.loads((folder / "croissant.json").read_text())
    files = [entry for entry in document["distribution"] if "sha256" in entry]
    assert {entry["contentUrl"] for entry in files} == {f"data/{file.name}" for file in (folder / "data").iterdir()}
    for entry in files:
        assert sha256((folder / entry["contentUrl"]).read_bytes()).hexdigest() == entry["sha256"]
    rows = sum(pq.ParquetFile(folder / entry["contentUrl"]).metadata.num_rows for entry in files)
    assert f"num_examples: {rows}\n" in (folder / "README.md").read_text()
    return rows
