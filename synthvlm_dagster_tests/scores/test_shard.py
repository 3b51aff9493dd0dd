"""Scoring of a shard: each image once, resumably, with errors that name the image and its file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from synthvlm_dagster.attempts.plan import read_plan, read_scores
from synthvlm_dagster.errors import ImageError, ModelError, StorageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.images.table import encode_image
from synthvlm_dagster.recipe import Recipe, Scoring
from synthvlm_dagster.scores.clip import ClipScorer, ClipScores
from synthvlm_dagster.scores.naming import scorer_name, scores_table
from synthvlm_dagster.scores.ssim import resize_ssim
from synthvlm_dagster.scores.table import SCORES_SCHEMA
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, draw, plan, store_images
from synthvlm_dagster_tests.shards import missing_scores, score_shard

SHARDS = ["0000", "0001"]


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    scoring = {
        "clip": {"model": str(tiny_clip_folder), "pretrained": None},
        "ssim": {"reduced_size": 10},
        "batch_size": 3,
        "device": "cpu",
    }
    return tiny_recipe(generation={"image_format": "png"}, scoring=scoring)


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(10, SHARDS), attempts=2)
    return storage


class CountingScorer(ClipScorer):
    """Remembers what it was asked to measure, and can die after so many batches."""

    def __init__(self, recipe: Recipe, batches_to_live: int = 1000) -> None:
        super().__init__(recipe.scoring.clip, recipe.scoring.device)
        self.batches: list[list[str]] = []
        self.batches_to_live = batches_to_live

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> ClipScores:
        if len(self.batches) == self.batches_to_live:
            raise KeyboardInterrupt
        self.batches.append(list(captions))
        return super().score(prepared, captions)

    @property
    def measured(self) -> int:
        return sum(map(len, self.batches))


def shard_scores(recipe: Recipe, storage: Storage, shard: str) -> pl.DataFrame:
    return read_scores(recipe, storage, shard).collect().sort("image_id")


def test_every_image_gets_its_own_scores(recipe: Recipe, storage: Storage) -> None:
    planned = add_pictures(recipe, storage, "0001").sort("image_id")
    scorer = CountingScorer(recipe)
    assert score_shard(recipe, storage, "0001", scorer).measured == 10
    scores = shard_scores(recipe, storage, "0001")
    assert scores.schema == SCORES_SCHEMA
    assert scores.select("image_id", "caption_id", "attempt", "text", "shard").equals(
        planned.select("image_id", "caption_id", "attempt", "text", "shard")
    )
    images = [np.asarray(draw(name, 32, 32)) for name in planned["image_id"]]
    assert scores["ssim"].to_list() == [resize_ssim(image, size=10) for image in images]
    expected = ClipScorer(recipe.scoring.clip, "cpu").clip_scores(images, planned["text"].to_list())
    assert scores["clip_score"].to_list() == pytest.approx(expected, abs=1e-6)
    assert max(map(len, scorer.batches)) == recipe.scoring.batch_size


def test_a_scored_shard_is_left_alone_and_loads_no_model(recipe: Recipe, storage: Storage) -> None:
    add_pictures(recipe, storage, "0000")
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    files = storage.files(scores_table(recipe, "0000"))
    scorer = CountingScorer(recipe)
    scoring = score_shard(recipe, storage, "0000", scorer)
    assert (scoring.measured, scoring.images_per_second, scorer.measured) == (0, 0, 0)
    assert "_loaded" not in vars(scorer)
    assert storage.files(scores_table(recipe, "0000")) == files


def test_only_new_images_are_measured(recipe: Recipe, storage: Storage) -> None:
    add_pictures(recipe, storage, "0000", slice(0, 4))
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    first = shard_scores(recipe, storage, "0000")
    add_pictures(recipe, storage, "0000", slice(4, None))
    assert missing_scores(recipe, storage, "0000").height == 6
    scorer = CountingScorer(recipe)
    score_shard(recipe, storage, "0000", scorer)
    assert scorer.measured == 6
    scores = shard_scores(recipe, storage, "0000")
    assert scores.height == scores["image_id"].n_unique() == 10
    assert scores.join(first, on="image_id", how="semi").equals(first)


@pytest.mark.parametrize("batches_to_live", [0, 1, 2, 3])
def test_a_kill_costs_at_most_one_chunk(recipe: Recipe, storage: Storage, batches_to_live: int) -> None:
    add_pictures(recipe, storage, "0000")
    with pytest.raises(KeyboardInterrupt):
        score_shard(recipe, storage, "0000", CountingScorer(recipe, batches_to_live))
    kept = shard_scores(recipe, storage, "0000").height
    assert kept == 6 * (batches_to_live // 2)
    scorer = CountingScorer(recipe)
    score_shard(recipe, storage, "0000", scorer)
    assert scorer.measured == 10 - kept
    assert shard_scores(recipe, storage, "0000")["image_id"].n_unique() == 10


def test_batch_size_does_not_change_the_scores(recipe: Recipe, storage: Storage, tmp_path: Path) -> None:
    add_pictures(recipe, storage, "0000")
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    small = shard_scores(recipe, storage, "0000")
    large_batches = recipe.model_copy(update={"scoring": recipe.scoring.model_copy(update={"batch_size": 64})})
    other = Storage(str(tmp_path / "other"))
    plan(other, captions_in_shards(10, SHARDS), attempts=2)
    add_pictures(large_batches, other, "0000")
    score_shard(large_batches, other, "0000", CountingScorer(large_batches))
    large = shard_scores(large_batches, other, "0000")
    assert large.drop("clip_score").equals(small.drop("clip_score"))
    assert large["clip_score"].to_list() == pytest.approx(small["clip_score"].to_list(), abs=1e-6)


def test_a_shard_without_images_has_no_scores(recipe: Recipe, storage: Storage) -> None:
    assert score_shard(recipe, storage, "0000", CountingScorer(recipe)).measured == 0
    assert shard_scores(recipe, storage, "0000").is_empty()
    assert read_scores(recipe, storage).collect().schema == SCORES_SCHEMA
    assert storage.files("scores") == []


def test_scores_of_all_shards_without_those_no_longer_planned(recipe: Recipe, storage: Storage) -> None:
    for shard in SHARDS:
        add_pictures(recipe, storage, shard)
        score_shard(recipe, storage, shard, CountingScorer(recipe))
    assert read_scores(recipe, storage).collect()["image_id"].n_unique() == 20
    plan(storage, captions_in_shards(4, SHARDS), attempts=1)
    assert read_scores(recipe, storage).collect()["image_id"].n_unique() == 4


def test_an_image_scored_by_two_runs_is_read_once(recipe: Recipe, storage: Storage) -> None:
    add_pictures(recipe, storage, "0000")
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    some = shard_scores(recipe, storage, "0000").head(3)
    storage.write_chunk(scores_table(recipe, "0000"), "chunk-other.parquet", some)
    assert shard_scores(recipe, storage, "0000").height == 10


@pytest.mark.parametrize(("kept", "words"), [(100, "cannot be decoded"), (0, "has no bytes")])
def test_an_image_cut_short_is_named_with_its_file(recipe: Recipe, storage: Storage, kept: int, words: str) -> None:
    planned = add_pictures(recipe, storage, "0000", slice(0, 4))
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    bad = add_pictures(recipe, storage, "0001", slice(0, 1))
    [file] = storage.files(images_table(recipe, "0001"))
    rows = storage.scan_files([file]).collect()
    image = rows["image"].item()
    rows = rows.with_columns(pl.Series("image", [image | {"bytes": image["bytes"][:kept]}], dtype=rows.schema["image"]))
    storage.write_chunk(images_table(recipe, "0001"), file.rpartition("/")[2], rows)
    with pytest.raises(ImageError, match=rf"{words}.*materializing generated_images\[0001\]") as caught:
        score_shard(recipe, storage, "0001", CountingScorer(recipe))
    assert storage.url(file) in str(caught.value)
    assert storage.exists(f"{file}.corrupt")
    assert bad["image_id"].item() in str(caught.value)
    assert shard_scores(recipe, storage, "0000").height == planned.height


def test_an_image_smaller_than_the_window_is_named(recipe: Recipe, storage: Storage) -> None:
    planned = read_plan(recipe, storage, "0000").head(1)
    small = [encode_image(Image.new("RGB", (6, 40)), recipe.generation)]
    store_images(recipe, storage, "0000", planned, small)
    with pytest.raises(ImageError, match=f"image {planned['image_id'].item()} of shard 0000: .*7×7.*6×40"):
        score_shard(recipe, storage, "0000", CountingScorer(recipe))


def test_an_image_smaller_than_the_reduced_size_is_named(recipe: Recipe, storage: Storage) -> None:
    planned = add_pictures(recipe, storage, "0000", slice(0, 1))
    scoring = Scoring.model_validate(recipe.scoring.model_dump() | {"ssim": {"reduced_size": 336}})
    recipe = recipe.model_copy(update={"scoring": scoring})
    with pytest.raises(ImageError, match=f"image {planned['image_id'].item()} of shard 0000: .*336.*32×32"):
        score_shard(recipe, storage, "0000", CountingScorer(recipe))


def test_a_model_that_gives_nan_is_refused_before_anything_is_written(recipe: Recipe, storage: Storage) -> None:
    from safetensors.torch import load_file, save_file

    planned = add_pictures(recipe, storage, "0000").sort("image_id")
    healthy = Path(recipe.scoring.clip.model)
    folder = Path(storage.url("models")) / "nan-clip"
    folder.mkdir(parents=True)
    weights = load_file(healthy / "open_clip_model.safetensors")
    weights["visual.proj"][:] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text((healthy / "open_clip_config.json").read_text())
    recipe = changed(recipe, "clip", model=str(folder))
    scorer = CountingScorer(recipe)
    with pytest.raises(ModelError, match=rf"image {planned['image_id'][0]} of shard 0000: .*no finite score.*dtype"):
        score_shard(recipe, storage, "0000", scorer)
    assert storage.files("scores") == []


def test_greyscale_and_transparent_files_are_measured_as_rgb(recipe: Recipe, storage: Storage) -> None:
    planned = add_pictures(recipe, storage, "0000", slice(0, 0))
    assert planned.is_empty()
    add_pictures(recipe, storage, "0001", slice(0, 1))
    [file] = storage.files(images_table(recipe, "0001"))
    rows = storage.scan_files([file]).collect()
    content, _, _ = encode_image(Image.new("L", (32, 32), 99), recipe.generation)
    rows = rows.with_columns(pl.Series("image", [{"bytes": content, "path": "x.png"}], dtype=rows.schema["image"]))
    storage.write_chunk(images_table(recipe, "0001"), file.rpartition("/")[2], rows)
    score_shard(recipe, storage, "0001", CountingScorer(recipe))
    assert shard_scores(recipe, storage, "0001")["ssim"].to_list() == [1.0]


def test_damaged_scores_are_measured_again(recipe: Recipe, storage: Storage) -> None:
    add_pictures(recipe, storage, "0000")
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    files = storage.files(scores_table(recipe, "0000"))
    storage.write_bytes(files[0], storage.read_bytes(files[0])[:-20])
    said: list[str] = []
    score_shard(recipe, storage, "0000", CountingScorer(recipe), said.append)
    assert any(f"{files[0]}.corrupt" in sentence for sentence in said)
    assert shard_scores(recipe, storage, "0000").height == 10


def test_progress_tells_done_total_and_rate(recipe: Recipe, storage: Storage) -> None:
    add_pictures(recipe, storage, "0000")
    said: list[str] = []
    score_shard(recipe, storage, "0000", CountingScorer(recipe), said.append)
    assert said[-1].startswith("shard 0000: scored 10 of 10 images")


def test_nothing_planned_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="plans/attempts: no such table"):
        score_shard(recipe, Storage(str(tmp_path / "empty")), "0000", CountingScorer(recipe))


def test_in_memory_object_store(recipe: Recipe) -> None:
    storage = Storage("memory://test-scores")
    plan(storage, captions_in_shards(4, SHARDS), attempts=1)
    add_pictures(recipe, storage, "0000")
    score_shard(recipe, storage, "0000", CountingScorer(recipe))
    assert shard_scores(recipe, storage, "0000").height == 2


def changed(recipe: Recipe, section: str, **values: object) -> Recipe:
    scoring = recipe.scoring.model_dump()
    target = scoring[section] if section else scoring
    target.update(values)
    return recipe.model_copy(update={"scoring": Scoring.model_validate(scoring)})


def test_the_scorers_name_changes_with_what_changes_scores(recipe: Recipe, tiny_clip_folder: Path) -> None:
    same = [recipe, changed(recipe, "", batch_size=7), changed(recipe, "", device="cuda")]
    assert {scorer_name(each) for each in same} == {scorer_name(recipe)}
    different = [
        changed(recipe, "clip", prompt_prefix=""),
        changed(recipe, "clip", dtype="float16"),
        changed(recipe, "clip", model="ViT-B-32", pretrained="openai"),
        changed(recipe, "clip", model="ViT-B-32", pretrained="laion400m_e32"),
        changed(recipe, "ssim", reduced_size=11),
        changed(recipe, "ssim", channels="rgb"),
    ]
    names = {scorer_name(each) for each in [recipe, *different]}
    assert len(names) == 1 + len(different)
    assert scorer_name(recipe).startswith("tiny-clip-")


def test_the_scorers_name_follows_the_weights_and_not_their_place(
    recipe: Recipe, tiny_clip_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / tiny_clip_folder.name
    copy.mkdir()
    for file in tiny_clip_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert scorer_name(changed(recipe, "clip", model=str(copy))) == scorer_name(recipe)
    weights = copy / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert scorer_name(changed(recipe, "clip", model=str(copy))) != scorer_name(recipe)
