import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.errors import ModelError, StorageError
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.identity import image_seed
from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster.images.plan import PLAN_TABLE, plan_attempts
from synthvlm_dagster.images.shard import generate_shard, missing_images, read_images, shard_progress
from synthvlm_dagster.images.table import IMAGE_DESCRIPTIONS, IMAGE_SCHEMA, images_table
from synthvlm_dagster.recipe import Attempts, Recipe
from synthvlm_dagster.storage import Storage

SHARD = "0000"


class NoGenerator:
    """Fails when it is asked for anything: nothing is missing where it is used."""

    def load(self) -> float:
        raise AssertionError("the model is not needed")

    def generate(self, _texts: Sequence[str], _seeds: Sequence[int]) -> list[Image.Image]:
        raise AssertionError("no image is missing")


def write_plan(storage: Storage, captions: int, attempts: int = 1) -> None:
    """Plan captions 0, 1, …; the even ones are shard 0000, the odd ones 0001."""
    rows = [
        {"caption_id": f"{number:016x}", "text": f"caption {number}", "shard": f"{number % 2:04d}"}
        for number in range(captions)
    ]
    storage.write_table(PLAN_TABLE, plan_attempts(pl.DataFrame(rows), Attempts(per_caption=attempts), seed=0))


def chunks(recipe: Recipe, storage: Storage) -> list[str]:
    return storage.files(images_table(recipe, SHARD), ".parquet")


def damage(storage: Storage, path: str, change: Callable[[bytes], bytes]) -> None:
    storage.write_bytes(path, change(storage.read_bytes(path)))


def unet_calls(generator: DiffusersGenerator) -> list[int]:
    """A list that gets the batch size of every call of the generator's UNet, guidance not counted twice."""
    generator.load()
    calls: list[int] = []
    generator._pipelines[0].unet.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape[0] // 2))
    return calls


def test_a_shard_gets_its_planned_images_and_their_facts(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"negative_prompt": "fog"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=6, attempts=2)
    messages: list[str] = []
    summary = generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation), messages.append)

    assert (summary.planned, summary.made, summary.set_aside) == (6, 6, ())
    assert summary.load_seconds > 0
    assert "complete with 6 images; 6 made" in messages[-1]
    images = read_images(recipe, storage, SHARD)
    assert images.collect_schema() == IMAGE_SCHEMA
    assert set(IMAGE_DESCRIPTIONS) == set(IMAGE_SCHEMA)
    rows = images.collect().sort("image_id").rows(named=True)
    assert [row["image_id"] for row in rows] == [f"{n:016x}-{a:02d}" for n in (0, 2, 4) for a in (0, 1)]
    for row in rows:
        assert row["seed"] == image_seed(recipe.seed, row["caption_id"], row["attempt"])
        assert row["text"] == f"caption {int(row['caption_id'], 16)}"
        assert row["image"]["path"] == f"{row['image_id']}.jpg"
        assert row["image"]["bytes"][:3] == b"\xff\xd8\xff"
        assert (row["model"], row["num_inference_steps"], row["negative_prompt"]) == ("tiny-sdxl", 2, "fog")
    assert len({row["image"]["bytes"] for row in rows}) == 6
    assert read_images(recipe, storage, "0001").collect().is_empty()


def test_an_image_can_be_rebuilt_from_its_row(tiny_recipe: Callable[..., Recipe]) -> None:
    import io

    import numpy as np

    recipe = tiny_recipe({"image_format": "png"})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=6)
    generator = DiffusersGenerator(recipe.generation)
    generate_shard(recipe, storage, SHARD, generator)
    row = read_images(recipe, storage, SHARD).collect().row(1, named=True)
    with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
        [rebuilt] = generator.generate([row["text"]], [row["seed"]])
        assert np.abs(np.asarray(stored, dtype=int) - np.asarray(rebuilt, dtype=int)).max() <= 2


def test_a_complete_shard_needs_no_model(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=4)
    generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation))
    before = storage.version(images_table(recipe, SHARD))
    summary = generate_shard(recipe, storage, SHARD, NoGenerator())
    assert (summary.made, summary.seconds, summary.images_per_second) == (0, 0, 0)
    assert storage.version(images_table(recipe, SHARD)) == before


def test_a_shard_without_captions_is_complete(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=1)
    assert generate_shard(recipe, storage, "0001", NoGenerator()).planned == 0
    assert read_images(recipe, storage, "0001").collect().schema == IMAGE_SCHEMA


def test_only_new_attempts_are_made(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    generator = DiffusersGenerator(recipe.generation)
    write_plan(storage, captions=6)
    assert generate_shard(recipe, storage, SHARD, generator).made == 3
    write_plan(storage, captions=8, attempts=2)
    assert missing_images(recipe, storage, SHARD).height == 5
    assert generate_shard(recipe, storage, SHARD, generator).made == 5
    assert missing_images(recipe, storage, SHARD).is_empty()


def test_images_no_longer_planned_are_kept_and_not_read(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=8)
    generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation))
    write_plan(storage, captions=4)
    assert read_images(recipe, storage, SHARD).collect()["image_id"].sort().to_list() == [
        "0000000000000000-00",
        "0000000000000002-00",
    ]
    write_plan(storage, captions=8)
    assert generate_shard(recipe, storage, SHARD, NoGenerator()).made == 0


def test_another_generator_makes_its_own_images(tiny_recipe: Callable[..., Recipe]) -> None:
    one, other = tiny_recipe(), tiny_recipe({"num_inference_steps": 3})
    storage = Storage(one.storage)
    write_plan(storage, captions=2)
    for recipe in (one, other):
        assert generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation)).made == 1
    assert len(storage.files("images", ".parquet")) == 2


def test_work_is_done_in_batches_and_chunks(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"batch_size": 2, "images_per_chunk": 5})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=24)
    generator = DiffusersGenerator(recipe.generation)
    calls = unet_calls(generator)
    generate_shard(recipe, storage, SHARD, generator)
    assert calls == [2, 2, 2, 2, 1, 1] * 2 + [2, 2]
    assert [storage.scan_files([path]).collect().height for path in chunks(recipe, storage)].count(5) == 2


@pytest.mark.parametrize(
    "change",
    [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"PAR1", lambda content: content[:-40]],
    ids=["half", "empty", "magic", "footer"],
)
def test_a_damaged_chunk_is_set_aside_and_only_its_images_are_made_again(
    tiny_recipe: Callable[..., Recipe], change: Callable[[bytes], bytes]
) -> None:
    recipe = tiny_recipe({"images_per_chunk": 2})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generator = DiffusersGenerator(recipe.generation)
    generate_shard(recipe, storage, SHARD, generator)
    whole = read_images(recipe, storage, SHARD).collect().sort("image_id")
    victim = chunks(recipe, storage)[1]
    lost = storage.scan_files([victim]).collect()["image_id"].to_list()
    damage(storage, victim, change)

    assert missing_images(recipe, storage, SHARD)["image_id"].to_list() == lost
    assert read_images(recipe, storage, SHARD).collect().height == 4
    assert victim in chunks(recipe, storage)
    messages: list[str] = []
    calls = unet_calls(generator)
    summary = generate_shard(recipe, storage, SHARD, generator, messages.append)
    assert summary.set_aside == (f"{victim}.corrupt",)
    assert any("could not be read" in message and ".corrupt" in message for message in messages)
    assert sum(calls) == 2 * 2
    assert read_images(recipe, storage, SHARD).collect().sort("image_id").equals(whole)
    assert storage.exists(f"{victim}.corrupt")


def test_an_image_in_two_chunks_is_read_once(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe({"images_per_chunk": 3})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation))
    whole = read_images(recipe, storage, SHARD).collect().sort("image_id")
    storage.write_chunk(images_table(recipe, SHARD), "chunk-ffffffffff.parquet", whole.slice(1, 4))
    assert read_images(recipe, storage, SHARD).collect().sort("image_id").equals(whole)
    assert missing_images(recipe, storage, SHARD).is_empty()


def test_progress_counts_planned_present_and_missing(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe(shards=3)
    storage = Storage(recipe.storage)
    with pytest.raises(StorageError, match="no such table"):
        shard_progress(recipe, storage)
    write_plan(storage, captions=5, attempts=2)
    generate_shard(recipe, storage, SHARD, DiffusersGenerator(recipe.generation))
    assert shard_progress(recipe, storage).rows() == [("0000", 6, 6, 0), ("0001", 4, 0, 4), ("0002", 0, 0, 0)]


def test_a_store_that_is_no_local_folder_works(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe(storage="memory://test_images_shard")
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    generator = DiffusersGenerator(recipe.generation)
    assert generate_shard(recipe, storage, SHARD, generator).made == 6
    assert generate_shard(recipe, storage, SHARD, NoGenerator()).made == 0
    damage(storage, chunks(recipe, storage)[0], lambda content: content[:100])
    repaired = generate_shard(recipe, storage, SHARD, generator)
    assert repaired.made in (2, 4)
    assert len(repaired.set_aside) == 1
    assert read_images(recipe, storage, SHARD).collect()["image_id"].n_unique() == 6


def test_an_error_in_the_middle_keeps_finished_chunks(tiny_recipe: Callable[..., Recipe]) -> None:
    recipe = tiny_recipe()
    storage = Storage(recipe.storage)
    write_plan(storage, captions=12)
    real = DiffusersGenerator(recipe.generation)

    class FailsAtTheThirdBatch:
        batches = 0
        load = real.load

        def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
            self.batches += 1
            if self.batches == 3:
                raise ModelError("out of order")
            return real.generate(texts, seeds)

    with pytest.raises(ModelError, match="out of order"):
        generate_shard(recipe, storage, SHARD, FailsAtTheThirdBatch())
    assert missing_images(recipe, storage, SHARD).height == 2
    assert generate_shard(recipe, storage, SHARD, real).made == 2


KILLED_PROGRAM = """
import json, sys
from synthvlm_dagster.images.generators import DiffusersGenerator
from synthvlm_dagster.images.shard import generate_shard
from synthvlm_dagster.recipe import Recipe
from synthvlm_dagster.storage import Storage

recipe = Recipe.model_validate(json.loads(sys.argv[1]))
generator = DiffusersGenerator(recipe.generation)
generator.load()
unet = generator._pipelines[0].unet

def wait_for_the_parent(*_):
    print("unet", flush=True)
    sys.stdin.readline()

unet.register_forward_pre_hook(wait_for_the_parent)
generate_shard(recipe, Storage(recipe.storage), sys.argv[2], generator)
print("done", flush=True)
"""


def test_after_kill_9_no_image_is_lost_and_none_is_made_twice(tiny_recipe: Callable[..., Recipe]) -> None:
    steps, batch, chunk, planned = 2, 2, 4, 10
    recipe = tiny_recipe({"num_inference_steps": steps, "batch_size": batch, "images_per_chunk": chunk})
    storage = Storage(recipe.storage)
    write_plan(storage, captions=2 * planned)
    command = [sys.executable, "-c", KILLED_PROGRAM, json.dumps(recipe.model_dump(mode="json")), SHARD]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The first chunk takes 2 batches of 2 steps; the sixth call is the second step of the second chunk.
        for _ in range(6):
            assert process.stdout.readline() == "unet\n"
            process.stdin.write("go on\n")
            process.stdin.flush()
        assert process.stdout.readline() == "unet\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    survivors = read_images(recipe, storage, SHARD).collect()
    assert survivors.height == chunk
    assert missing_images(recipe, storage, SHARD).height == planned - chunk
    generator = DiffusersGenerator(recipe.generation)
    calls = unet_calls(generator)
    assert generate_shard(recipe, storage, SHARD, generator).made == planned - chunk
    assert len(calls) == steps * (planned - chunk) // batch
    assert sum(calls) == steps * (planned - chunk)

    images = pl.concat([storage.scan_files([path]) for path in chunks(recipe, storage)]).collect().sort("image_id")
    assert images["image_id"].to_list() == [f"{2 * number:016x}-00" for number in range(planned)]
    undisturbed = tiny_recipe(recipe.generation.model_dump(), storage=recipe.storage + "-undisturbed")
    other = Storage(undisturbed.storage)
    write_plan(other, captions=2 * planned)
    generate_shard(undisturbed, other, SHARD, generator)
    assert generator_name(undisturbed) == generator_name(recipe)
    assert read_images(undisturbed, other, SHARD).collect().sort("image_id").equals(images)
