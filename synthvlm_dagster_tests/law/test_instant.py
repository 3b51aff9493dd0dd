"""The models that compute nothing: their answers depend on all that a real model's depend on, and on nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from synthvlm_dagster.captions.measures import costly
from synthvlm_dagster.images.soundness import image_problem
from synthvlm_dagster.recipe import ClipScoring, Curation, Generation, Judges, Scoring
from synthvlm_dagster_tests.law.instant import InstantGenerator, InstantScorer, instant_judges

TEXTS = ("a red circle", "a blue square", "a red circle")
SEEDS = (1, 2, 3)


def drawn(folder: Path, *, texts: Any = TEXTS, seeds: Any = SEEDS, **changed: Any) -> np.ndarray:
    generation = {"model": str(folder), "width": 16, "height": 16, **changed}
    generator = InstantGenerator(Generation.model_validate(generation))
    assert generator.load(print) == 0
    pictures = [drawing.image for drawing in generator.decode(generator.denoise(texts, seeds))]
    return np.stack([picture for picture in pictures if picture is not None])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_text("first")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "changed",
    [
        {"seeds": (4, 5, 6)},
        {"texts": ("a fox", "a hen", "an owl")},
        {"num_inference_steps": 3},
        {"guidance_scale": 1.0},
        {"negative_prompt": "blurred"},
        {"scheduler": {"name": "DDIMScheduler"}},
        {"loras": [{"model": "org/lora"}]},
        {"dtype": "float32"},
    ],
)
def test_a_picture_follows_from_seed_text_and_settings(model, changed):
    assert not (drawn(model) == drawn(model, **changed)).all(axis=(1, 2, 3)).any()
    assert (drawn(model, **changed) == drawn(model, **changed)).all()


def test_a_picture_does_not_follow_from_how_it_is_computed_or_stored(model):
    one_by_one = [drawn(model, texts=[text], seeds=[seed])[0] for text, seed in zip(TEXTS, SEEDS, strict=True)]
    assert (drawn(model) == np.stack(one_by_one)).all()
    for changed in ({"batch_size": 3}, {"device": "cpu"}, {"image_format": "png"}, {"retries": 0}, {"revision": "v2"}):
        assert (drawn(model) == drawn(model, **changed)).all()


def test_a_model_that_was_trained_again_in_place_draws_other_pictures(model):
    before = drawn(model)
    (model / "weights.safetensors").write_text("again")
    assert not (before == drawn(model)).all(axis=(1, 2, 3)).any()


def test_some_pictures_are_flat_and_no_others_are_refused(model):
    texts = ["a red circle"] * 300
    problems = [image_problem(picture) for picture in drawn(model, texts=texts, seeds=range(300))]
    assert 40 < len([problem for problem in problems if problem is not None]) < 120
    assert set(problems) <= {None, "flat", "black"}


def scored(texts: Any = TEXTS, pictures: int = 3, **changed: Any) -> tuple[np.ndarray, np.ndarray]:
    scorer = InstantScorer(ClipScoring.model_validate({"model": "org/clip", "pretrained": None, **changed}))
    scorer.load()
    images = [np.full((8, 8, 3), shade, np.uint8) for shade in range(pictures, pictures + 3)]
    return scorer.score([scorer.prepare(image) for image in images], texts)


def test_a_score_follows_from_picture_caption_prefix_and_weights():
    scores, embeddings = scored()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.allclose((embeddings**2).sum(axis=1), 1)
    for changed in ({"prompt_prefix": ""}, {"dtype": "float16"}, {"model": "org/other"}, {"pictures": 9}):
        assert not (scores == scored(**changed)[0]).any()
    assert not (scores[:1] == scored(texts=("a fox", "a hen", "an owl"))[0][:1]).any()
    assert (scores == scored()[0]).all()


def test_an_embedding_follows_from_picture_and_weights_alone():
    assert (scored()[1] == scored(prompt_prefix="", texts=("a fox", "a hen", "an owl"))[1]).all()
    for changed in ({"dtype": "float16"}, {"model": "org/other"}, {"pictures": 9}):
        assert not (scored()[1] == scored(**changed)[1]).all(axis=1).any()


def test_a_judge_has_its_column_and_values_of_its_settings():
    judges = Judges.model_validate({"siglip": {}, "vqa": {"model": "org/vqa"}})
    found = instant_judges(Scoring(judges=judges))
    assert [judge.column for judge in found.values()] == list(judges.columns)
    values = []
    for judge in found.values():
        judge.load()
        values.append(judge.score([judge.prepare(np.zeros((8, 8, 3), np.uint8))] * 2, ["a fox", "a hen"]))
    assert len(set(np.concatenate(values))) == 4


def test_a_measure_keeps_its_identity_and_gives_its_values_at_once(instant_models):
    rules = {"judge": {"base_url": "http://localhost:1/v1", "model": "asked"}}
    curation = Curation.model_validate({"rules": rules})
    measure = costly.costly_measures(curation)["judge"]
    captions = pl.DataFrame({"key": ["a", "b"], "text": ["a fox", "a hen"], "image_uri": [None, None]})
    [rows] = measure.measure(captions, print)
    assert rows["value"].is_in([0.0, 1.0]).all()
    assert set(measure.extras) <= set(rows.columns)
    asked_otherwise = Curation.model_validate({"rules": {"judge": rules["judge"] | {"question": "{caption}?"}}})
    other = costly.costly_measures(asked_otherwise)["judge"]
    assert other.identity != measure.identity
