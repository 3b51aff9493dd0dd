"""Shards made by real processes that are killed, that run into a full disk, or that work on the same shard at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.attempts.state import planned_images, read_images
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.scores.naming import scores_table
from synthvlm_dagster.store.storage import TEMPORARY_PREFIX, Storage
from synthvlm_dagster_tests.images.noise import SHARD, NoiseGenerator, ids, logged_seeds, write_plan
from synthvlm_dagster_tests.shards import generate_shard

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(recipe: Recipe, log: Path, generator: str, pause: str, *shards: str) -> Iterator[subprocess.Popen]:
    """A process of `worker.py`."""
    arguments = [json.dumps(recipe.model_dump(mode="json")), str(log), generator, pause, *shards]
    with subprocess.Popen(
        [sys.executable, "-m", "synthvlm_dagster_tests.images.worker", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen, pauses: int) -> None:
    """Let a worker pass so many pauses, and wait until it stands at the next."""
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(pauses):
        assert process.stdout.readline() == "paused\n"
        process.stdin.write("go on\n")
        process.stdin.flush()
    assert process.stdout.readline() == "paused\n"


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def wait_for_chunks(recipe: Recipe, storage: Storage, count: int) -> None:
    """Wait until so many files of the shard are written; the worker's other threads do that while it is paused."""
    deadline = time.monotonic() + 60
    while len(storage.files(images_table(recipe, SHARD))) < count:
        assert time.monotonic() < deadline, "not written within a minute"
        time.sleep(0.01)


def rows_of_files(recipe: Recipe, storage: Storage, shard: str) -> pl.DataFrame:
    """The rows of all files, so that an image made twice shows twice."""
    return pl.concat([storage.scan_files([path]) for path in storage.files(images_table(recipe, shard))]).collect()


def test_kill_9_in_the_middle_of_a_chunk(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe, log = tiny_recipe({"batch_size": 2, "images_per_chunk": 4}), tmp_path / "log"
    storage = Storage(recipe.storage)
    write_plan(storage, captions=40)
    with worker(recipe, log, "noise", "denoise", SHARD) as process:
        go_on(process, pauses=6)
        wait_for_chunks(recipe, storage, 2)
        kill(process)
    present = planned_images(recipe, storage, SHARD).present.height
    # Two chunks are written, the third is on its way to the store.
    assert present in (8, 12)

    drawn = NoiseGenerator()
    assert generate_shard(recipe, storage, SHARD, drawn).made == 20 - present
    rows = rows_of_files(recipe, storage, SHARD).sort("image_id")
    assert rows["image_id"].to_list() == ids(range(0, 40, 2))
    # Seven batches of 2 before, of which those without a file were lost.
    assert logged_seeds(log) == rows["seed"][:14].to_list()
    assert drawn.seeds == rows["seed"][present:].to_list()


def test_kill_9_in_the_middle_of_a_write(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe, log = tiny_recipe({"batch_size": 2, "images_per_chunk": 4}), tmp_path / "log"
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    with worker(recipe, log, "noise", "write", SHARD) as process:
        go_on(process, pauses=1)
        kill(process)
    folder = Path(storage.url(images_table(recipe, SHARD)))
    assert [path.name for path in folder.iterdir() if path.name.startswith(TEMPORARY_PREFIX)]
    assert planned_images(recipe, storage, SHARD).present.height == 4
    generator = NoiseGenerator()
    assert generate_shard(recipe, storage, SHARD, generator).made == 8
    rows = rows_of_files(recipe, storage, SHARD)
    assert sorted(rows["image_id"]) == ids(range(0, 24, 2))
    assert len(generator.seeds) == 8


def test_kill_9_in_a_run_over_several_shards(tiny_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe, log = tiny_recipe({"batch_size": 2, "images_per_chunk": 4}, shards=3), tmp_path / "log"
    storage = Storage(recipe.storage)
    write_plan(storage, captions=36, shards=3)
    with worker(recipe, log, "noise", "denoise", *recipe.shard_keys) as process:
        # Six batches for the first shard, then two and a half of the second.
        go_on(process, pauses=8)
        kill(process)
    state = planned_images(recipe, storage)
    assert state.present.filter(pl.col("shard") == "0000").height == 12
    assert state.present.filter(pl.col("shard") == "0002").is_empty()
    drawn = NoiseGenerator()
    made = [generate_shard(recipe, storage, shard, drawn).made for shard in recipe.shard_keys]
    assert made[0] == 0
    assert sum(made) == len(drawn.seeds) == state.missing.height
    rows = pl.concat(rows_of_files(recipe, storage, shard) for shard in recipe.shard_keys)
    assert sorted(rows["image_id"]) == ids(range(36))
    assert rows["seed"].n_unique() == 36


def test_kill_9_costs_no_more_unet_calls_than_the_lost_images(
    tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    steps = 2
    recipe = tiny_recipe({"num_inference_steps": steps, "batch_size": 2, "images_per_chunk": 2})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=16)
    with worker(recipe, tmp_path / "log", "diffusers", "unet", SHARD) as process:
        go_on(process, pauses=5)
        wait_for_chunks(recipe, storage, 1)
        kill(process)
    lost = planned_images(recipe, storage, SHARD).missing.height
    # Killed in its third batch; the second may have been decoded before the third began, and so be written.
    assert lost in (4, 6)

    generator = DiffusersGenerator(recipe.generation)
    generator.load()
    images_of_calls: list[int] = []
    # Guidance doubles the batch.
    generator._pipelines[0].unet.register_forward_pre_hook(
        lambda _, inputs: images_of_calls.append(inputs[0].shape[0] // 2)
    )
    assert generate_shard(recipe, storage, SHARD, generator).made == lost
    assert sum(images_of_calls) == steps * lost
    images = rows_of_files(recipe, storage, SHARD).sort("image_id")
    assert images["image_id"].to_list() == ids(range(0, 16, 2))

    undisturbed = tiny_recipe(recipe.generation.model_dump(), storage=recipe.storage + "-undisturbed")
    other = Storage(undisturbed.storage)
    write_plan(other, captions=16)
    generate_shard(undisturbed, other, SHARD, generator)
    assert rows_of_files(undisturbed, other, SHARD).sort("image_id").equals(images)


def test_two_processes_on_one_shard_make_no_row_twice(
    tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path, tmp_path: Path
) -> None:
    scoring = {"clip": {"model": str(tiny_clip_folder), "pretrained": None}, "ssim": {"reduced_size": 10}}
    recipe, log = tiny_recipe({"images_per_chunk": 4}, scoring=scoring | {"device": "cpu"}), tmp_path / "log"
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    # Other batches of the second process give other bytes where pictures depend on the batch by numerical noise.
    hasty = recipe.model_copy(update={"generation": recipe.generation.model_copy(update={"images_per_chunk": 3})})
    with (
        worker(recipe, log, "noise", "denoise", SHARD) as one,
        worker(hasty, log, "noise", "denoise", SHARD) as other,
    ):
        # Both have looked at the empty store when they denoise their first batch.
        for process in (one, other):
            go_on(process, pauses=0)
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go on\n" * 20)
            process.stdin.close()
        assert [process.wait(60) for process in (one, other)] == [0, 0]
    assert rows_of_files(recipe, storage, SHARD).height == 24
    images = read_images(recipe, storage, SHARD).collect()
    assert sorted(images["image_id"]) == ids(range(0, 24, 2))
    assert planned_images(recipe, storage, SHARD).present.height == 12

    for name, score in (("chunk-1.parquet", 0.25), ("chunk-2.parquet", 0.5)):
        rows = images.select("image_id", "caption_id", "attempt", "text").with_columns(
            shard=pl.lit(SHARD), clip_score=pl.lit(score), ssim=pl.lit(score)
        )
        storage.write_chunk(scores_table(recipe, SHARD), name, rows)
    scores = [read_scores(recipe, storage, SHARD).sort("image_id").collect() for _ in range(2)]
    assert scores[0].equals(scores[1])
    assert scores[0]["image_id"].to_list() == ids(range(0, 24, 2))
    assert set(scores[0]["clip_score"]) == {0.25}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_clear_error_and_the_finished_chunks_stay(
    tiny_recipe: Callable[..., Recipe], small_disk: Path
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 4, "image_format": "png"}, storage=str(small_disk / "store"))
    storage = Storage(recipe.storage)
    write_plan(storage, captions=1000)
    with pytest.raises(StorageError, match=r"cannot be written: .*No space left on device"):
        generate_shard(recipe, storage, SHARD, NoiseGenerator())
    finished = planned_images(recipe, storage, SHARD).present.height
    assert finished > 0
    assert finished % 4 == 0
    assert read_images(recipe, storage, SHARD).collect().height == finished
    assert not [path for path in small_disk.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]

    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert generate_shard(recipe, storage, SHARD, NoiseGenerator()).made == 500 - finished
