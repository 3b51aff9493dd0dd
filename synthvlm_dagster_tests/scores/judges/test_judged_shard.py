"""Judges that join a recipe: they look at images that are there, and nothing else is measured again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from synthvlm_dagster.attempts.plan import read_scores
from synthvlm_dagster.errors import ModelError
from synthvlm_dagster.recipe import Recipe, Scoring
from synthvlm_dagster.scores.clip import ClipScorer, ClipScores
from synthvlm_dagster.scores.judge import JudgeModel
from synthvlm_dagster.scores.judges import recipe_judges
from synthvlm_dagster.scores.naming import judge_table, scorer_name, scores_table, scoring_version
from synthvlm_dagster.scores.table import scores_schema
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import add_pictures, captions_in_shards, plan
from synthvlm_dagster_tests.shards import (
    inspect_scores,
    missing_scores,
    score_shard,
    shards_with_work,
    unmeasured_shards,
)

SHARD = "0000"


@pytest.fixture
def recipe(tiny_recipe: Callable[..., Recipe], tiny_clip_folder: Path) -> Recipe:
    """Without judges."""
    scoring = {"clip": {"model": str(tiny_clip_folder), "pretrained": None}, "batch_size": 3, "device": "cpu"}
    return tiny_recipe(generation={"image_format": "png"}, scoring=scoring)


@pytest.fixture
def judged(recipe: Recipe, models: Path, tiny_clip_folder: Path) -> Recipe:
    """With every judge."""
    clip = {"model": str(tiny_clip_folder), "pretrained": None}
    return with_judges(
        recipe,
        siglip=clip,
        vqa={"model": str(models / "llava")},
        aesthetic={"predictor": str(models / "head.safetensors"), **clip},
        safety={"classifiers": [{"model": str(models / "nsfw"), "labels": ["nsfw"]}]},
    )


@pytest.fixture
def storage(recipe: Recipe) -> Storage:
    storage = Storage(recipe.storage)
    plan(storage, captions_in_shards(10, [SHARD, "0001"]), attempts=2)
    add_pictures(recipe, storage, SHARD)
    return storage


def with_judges(recipe: Recipe, **judges: Any) -> Recipe:
    scoring = recipe.scoring.model_dump() | {"judges": judges}
    return recipe.model_copy(update={"scoring": Scoring.model_validate(scoring)})


class NoScorer(ClipScorer):
    """Must not be asked."""

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> ClipScores:
        raise AssertionError(f"{len(captions)} images are measured by CLIP again")


class Dying:
    """A judge that dies after so many batches, and counts what it has measured."""

    def __init__(self, judge: JudgeModel, batches_to_live: int = 1000) -> None:
        self._judge = judge
        self.model, self.load, self.prepare = judge.model, judge.load, judge.prepare
        self.batches_to_live = batches_to_live
        self.measured = 0

    def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> np.ndarray:
        if not self.batches_to_live:
            raise KeyboardInterrupt
        self.batches_to_live -= 1
        self.measured += len(prepared)
        return self._judge.score(prepared, captions)


def score(recipe: Recipe, storage: Storage) -> int:
    scorer = ClipScorer(recipe.scoring.clip, "cpu")
    return score_shard(recipe, storage, SHARD, scorer, judges=recipe_judges(recipe.scoring)).measured


def test_judges_that_join_measure_what_is_there(recipe: Recipe, judged: Recipe, storage: Storage) -> None:
    score(recipe, storage)
    before = read_scores(recipe, storage, SHARD).collect().sort("image_id")
    files = storage.files("scores")
    assert SHARD not in unmeasured_shards(recipe, storage)
    assert SHARD in unmeasured_shards(judged, storage)
    assert missing_scores(judged, storage, SHARD).height == 10
    unjudged = read_scores(judged, storage, SHARD).collect()
    assert unjudged.schema == scores_schema(judged)
    assert unjudged.select(judged.scoring.judges.columns).null_count().row(0) == (10, 10, 10, 10)
    assert inspect_scores(judged, storage, SHARD)[:2] == (10, 10)

    judges = recipe_judges(judged.scoring)
    scoring = score_shard(judged, storage, SHARD, NoScorer(judged.scoring.clip, "cpu"), judges=judges)
    assert scoring.measured == 10
    assert SHARD not in unmeasured_shards(judged, storage)
    after = read_scores(judged, storage, SHARD).collect().sort("image_id")
    assert after.schema == scores_schema(judged)
    assert after.select(before.columns).equals(before)
    assert after.select(judged.scoring.judges.columns).null_count().row(0) == (0, 0, 0, 0)
    assert set(files) < set(storage.files("scores"))
    assert inspect_scores(judged, storage, SHARD) == (10, 0, (), ())
    # The recipe without judges still has what it had.
    assert read_scores(recipe, storage, SHARD).collect().sort("image_id").equals(before)
    assert score_shard(judged, storage, SHARD, NoScorer(judged.scoring.clip, "cpu"), judges=judges).measured == 0


def test_everything_in_one_pass_gives_the_same(
    recipe: Recipe, judged: Recipe, storage: Storage, tmp_path: Path
) -> None:
    score(recipe, storage)
    score(judged, storage)
    other = Storage(str(tmp_path / "other"))
    plan(other, captions_in_shards(10, [SHARD, "0001"]), attempts=2)
    add_pictures(recipe, other, SHARD)
    assert score(judged, other) == 10
    first, second = (read_scores(judged, each, SHARD).collect().sort("image_id") for each in (storage, other))
    for column in ("clip_score", "ssim", *judged.scoring.judges.columns):
        assert first[column].to_list() == pytest.approx(second[column].to_list(), abs=1e-6)


def test_a_new_judge_makes_recorded_shards_due_again(recipe: Recipe, judged: Recipe, storage: Storage) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for shard in recipe.shard_keys:
            instance.report_runless_asset_event(dg.AssetMaterialization("image_scores", partition=shard))
        score(recipe, storage)
        assert shards_with_work("image_scores", recipe, storage) == []
        assert shards_with_work("image_scores", judged, storage) == [SHARD]
        score(judged, storage)
        assert shards_with_work("image_scores", judged, storage) == []


@pytest.mark.parametrize("batches_to_live", [0, 1, 2, 3])
def test_a_killed_judge_resumes(judged: Recipe, storage: Storage, batches_to_live: int) -> None:
    scorer = ClipScorer(judged.scoring.clip, "cpu")
    dying = Dying(recipe_judges(judged.scoring)["siglip"], batches_to_live)
    with pytest.raises(KeyboardInterrupt):
        score_shard(judged, storage, SHARD, scorer, judges={"siglip": dying})
    kept = storage.files(judge_table(judged, "siglip", SHARD))
    assert len(kept) == batches_to_live // 2
    again = Dying(recipe_judges(judged.scoring)["siglip"])
    score_shard(judged, storage, SHARD, scorer, judges={"siglip": again})
    assert again.measured == 10 - 6 * len(kept)
    assert read_scores(judged, storage, SHARD).collect()["siglip_score"].count() == 10


def test_another_setting_of_one_judge_measures_by_that_one_alone(judged: Recipe, storage: Storage) -> None:
    score(judged, storage)
    asked = judged.scoring.judges.model_dump()
    changed = with_judges(judged, **asked | {"vqa": asked["vqa"] | {"answer": "No"}})
    assert read_scores(changed, storage, SHARD).collect()["vqa_score"].count() == 0
    judges = {name: Dying(judge) for name, judge in recipe_judges(changed.scoring).items()}
    score_shard(changed, storage, SHARD, NoScorer(changed.scoring.clip, "cpu"), judges=judges)
    assert {name: judge.measured for name, judge in judges.items()} == {
        "siglip": 0,
        "vqa": 10,
        "aesthetic": 0,
        "safety": 0,
    }
    values = [read_scores(each, storage, SHARD).collect().sort("image_id")["vqa_score"] for each in (judged, changed)]
    assert (values[0] - values[1]).abs().min() > 1e-9


def test_names_follow_what_changes_values(recipe: Recipe, judged: Recipe) -> None:
    table = judge_table(judged, "vqa", SHARD)
    assert table.split("/")[2].startswith("vqa-")
    asked = judged.scoring.judges.model_dump()
    other_batches = with_judges(judged, **asked | {"vqa": asked["vqa"] | {"batch_size": 3}})
    assert judge_table(other_batches, "vqa", SHARD) == table
    assert scoring_version(other_batches) == scoring_version(judged)
    other_question = with_judges(judged, **asked | {"vqa": asked["vqa"] | {"question": "{caption}?"}})
    assert judge_table(other_question, "vqa", SHARD) != table
    assert scorer_name(judged) == scorer_name(recipe)
    assert scores_table(judged, SHARD) == scores_table(recipe, SHARD)
    assert scoring_version(judged) != scoring_version(recipe)


def test_a_judge_that_gives_nan_is_refused(judged: Recipe, storage: Storage) -> None:
    class Lost(Dying):
        def score(self, prepared: Sequence[Any], captions: Sequence[str]) -> np.ndarray:
            return np.where(np.arange(len(prepared)) == 1, np.nan, 0.5)

    lost = Lost(recipe_judges(judged.scoring)["siglip"])
    with pytest.raises(ModelError, match=r"of shard 0000: the judge siglip, .* gives no finite score.*dtype"):
        score_shard(judged, storage, SHARD, ClipScorer(judged.scoring.clip, "cpu"), judges={"siglip": lost})
    assert storage.files(judge_table(judged, "siglip", SHARD)) == []


def test_impossible_values_of_judges_are_found(judged: Recipe, storage: Storage) -> None:
    score(judged, storage)
    file, *_ = storage.files(judge_table(judged, "vqa", SHARD))
    rows = storage.scan_files([file]).collect()
    values = pl.Series("vqa_score", [1.5, float("nan"), *[0.5] * (rows.height - 2)])
    storage.write_chunk(judge_table(judged, "vqa", SHARD), file.rpartition("/")[2], rows.with_columns(values))
    faults = inspect_scores(judged, storage, SHARD)
    assert faults.impossible == tuple(sorted(rows["image_id"][:2]))
    assert faults.missing == 0
