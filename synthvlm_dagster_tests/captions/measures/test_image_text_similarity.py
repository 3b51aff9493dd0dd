"""CLIP similarity of captions with their original images: the raw cosine, and a reason wherever there is none."""

import importlib.resources
import shutil
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import open_clip
import polars as pl
import pytest
import torch
from PIL import Image

from synthvlm_dagster.captions.measures.image_text_similarity import ClipSimilarity
from synthvlm_dagster.demo import world
from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.recipe import ImageTextSimilarity
from synthvlm_dagster_tests.captions.measures.shown_captions import SHOWN_SCHEMA, shown_captions

SHAPES_CLIP = Path(str(importlib.resources.files("synthvlm_dagster.demo") / "models" / "shapes-clip"))


def similarity(folder: Path | str = SHAPES_CLIP, **changed: Any) -> ClipSimilarity:
    return ClipSimilarity(ImageTextSimilarity(model=str(folder), pretrained=None, device="cpu", **changed))


def measured(captions: pl.DataFrame, measure: ClipSimilarity) -> pl.DataFrame:
    """All frames as one, in the captions' order."""
    frames = list(measure.measure(captions, lambda _: None))
    assert all(frame.schema == {"key": pl.String, "value": pl.Float64, "problem": pl.String} for frame in frames)
    return captions.select("key").join(pl.concat(frames), on="key", how="left", validate="1:1", maintain_order="left")


@pytest.fixture
def captions(tmp_path: Path) -> pl.DataFrame:
    chance = np.random.default_rng(1)
    return shown_captions([world.sample_scene(chance) for _ in range(40)], tmp_path)


def test_right_captions_are_nearer_than_wrong_ones(captions: pl.DataFrame) -> None:
    values = measured(captions, similarity())["value"].to_numpy().reshape(-1, 2)
    assert (values[:, 0] > values[:, 1]).all()
    assert values[:, 0].min() > 0.5
    assert values.min() < 0


def test_is_the_cosine_with_the_caption_as_it_is(captions: pl.DataFrame) -> None:
    name = f"local-dir:{SHAPES_CLIP}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenize = open_clip.get_tokenizer(name)
    model.eval()
    for text, uri, value in (
        captions.with_columns(measured(captions, similarity())["value"])
        .head(12)[["text", "image_uri", "value"]]
        .iter_rows()
    ):
        with torch.no_grad():
            seen = model.encode_image(preprocess(Image.open(uri)).unsqueeze(0))
            told = model.encode_text(tokenize([text]))
        assert value == pytest.approx(torch.cosine_similarity(seen, told).item(), abs=1e-6)


def test_does_not_depend_on_the_batch(captions: pl.DataFrame) -> None:
    captions = captions.sample(fraction=1, shuffle=True, seed=3)
    alone, together = (measured(captions, similarity(batch_size=size))["value"].to_numpy() for size in (1, 17))
    assert alone == pytest.approx(together, abs=1e-5)


def test_long_captions_are_cut_to_the_models_context(captions: pl.DataFrame) -> None:
    long, longer = (captions.head(4).with_columns(pl.col("text").repeat_by(n).list.join(" ")) for n in (40, 50))
    values = measured(long, similarity())["value"]
    assert values.null_count() == 0
    assert values.to_list() == pytest.approx(measured(longer, similarity())["value"].to_list(), abs=1e-6)


def test_what_is_wrong_with_one_image_is_said_of_that_one_alone(captions: pl.DataFrame, tmp_path: Path) -> None:
    expected = measured(captions, similarity())
    (tmp_path / "5.png").write_bytes((tmp_path / "5.png").read_bytes()[:100])
    (tmp_path / "7.png").unlink()
    without = pl.col("key").str.ends_with("-9")
    broken = captions.with_columns(image_uri=pl.when(without).then(None).otherwise("image_uri"))
    rows = measured(broken, similarity(batch_size=3))
    problems = dict(rows.filter(pl.col("problem").is_not_null()).select("key", "problem").iter_rows())
    assert problems.keys() == {f"{kind}-{number}" for kind in ("right", "wrong") for number in (5, 7, 9)}
    assert problems["right-5"] == problems["wrong-5"]
    assert problems["right-5"].startswith("the image cannot be decoded")
    assert problems["right-7"] == "the image is missing"
    assert problems["right-9"] == "the caption has no image"
    fine = rows["problem"].is_null()
    assert rows["value"].is_null().equals(~fine)
    assert rows.filter(fine)["value"].to_list() == pytest.approx(expected.filter(fine)["value"].to_list(), abs=1e-5)


def test_when_every_image_fails_every_caption_still_has_its_row(captions: pl.DataFrame) -> None:
    lost = captions.with_columns(image_uri="nowhere/" + pl.col("key") + ".jpg")
    rows = measured(lost, similarity(batch_size=7))
    assert rows["value"].null_count() == lost.height
    assert rows["problem"].unique().to_list() == ["the image is missing"]


def test_captions_without_images_need_no_model() -> None:
    captions = pl.DataFrame([("a", "a circle", None)], schema=SHOWN_SCHEMA, orient="row")
    rows = measured(captions, similarity("hf-hub:nobody/nothing"))
    assert rows.rows() == [("a", None, "the caption has no image")]
    assert list(similarity().measure(captions.clear(), lambda _: None)) == []


def test_every_batch_is_handed_over_as_soon_as_it_is_measured(captions: pl.DataFrame) -> None:
    frames = similarity(batch_size=8).measure(captions, lambda _: None)
    assert next(frames).height == 8
    frames.close()


def test_says_how_far_it_is(captions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthvlm_dagster.progress.SECONDS_BETWEEN_REPORTS", 0.01)
    said: Queue[str] = Queue()
    frames = similarity(batch_size=40).measure(captions, said.put)
    for done in (0, 40):
        next(frames)
        while not said.get(timeout=60).startswith(f"{done} of 80 captions measured against their images, "):
            pass
    frames.close()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_close(captions: pl.DataFrame, dtype: str) -> None:
    full, half = (measured(captions, similarity(dtype=kind))["value"].to_numpy() for kind in ("float32", dtype))
    assert half == pytest.approx(full, abs=0.03)


def test_a_value_that_is_no_number_is_a_problem(captions: pl.DataFrame, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clip"
    folder.mkdir()
    for file in SHAPES_CLIP.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"][:] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    rows = measured(captions, similarity(folder))
    assert rows["value"].null_count() == captions.height
    assert rows["problem"].unique().to_list() == ["the model gives no finite value; try another dtype"]


def test_identity_changes_with_all_that_changes_values(tiny_clip_folder: Path) -> None:
    identity = similarity().identity
    assert similarity(batch_size=3, min=0.1, if_not_measured="reject").identity == identity
    others = [
        similarity(dtype="bfloat16"),
        similarity(tiny_clip_folder),
        ClipSimilarity(ImageTextSimilarity()),
        ClipSimilarity(ImageTextSimilarity(pretrained="laion2b_s34b_b79k")),
    ]
    assert len({identity, *(other.identity for other in others)}) == 5


def test_mistakes_in_the_recipe_name_its_field(captions: pl.DataFrame) -> None:
    field = r"curation\.rules\.image_text_similarity"
    with pytest.raises(ValueError, match=f"{field}.model is null"):
        ClipSimilarity(ImageTextSimilarity(model=None))
    with pytest.raises(ModelError, match="/nowhere: no such model folder"):
        similarity("/nowhere")
    for rule, words in [
        (ImageTextSimilarity(model="ViT-B32"), rf"{field}\.model: open_clip has no architecture ViT-B32. Did you mean"),
        (ImageTextSimilarity(pretrained="opnai"), rf"{field}\.pretrained: ViT-B-32 has no weights opnai"),
    ]:
        with pytest.raises(ModelError, match=words):
            list(ClipSimilarity(rule).measure(captions, lambda _: None))
    with pytest.raises(RecipeError, match=rf"{field}\.device: torch cannot use .abacus"):
        rule = ImageTextSimilarity(model=str(SHAPES_CLIP), pretrained=None, device="abacus")
        list(ClipSimilarity(rule).measure(captions, lambda _: None))


def test_weights_that_must_be_fetched_without_network(
    captions: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"image_text_similarity\.model: .*cannot be loaded.*need the network"):
        list(ClipSimilarity(ImageTextSimilarity()).measure(captions, lambda _: None))


def test_a_model_replaced_before_it_was_loaded_measures_nothing(captions: pl.DataFrame, tmp_path: Path) -> None:
    folder = shutil.copytree(SHAPES_CLIP, tmp_path / "clip")
    measure = similarity(folder)
    (folder / "README.md").write_text("of another training")
    with pytest.raises(ModelError, match=r"image_text_similarity\.model: .*/clip: its files have been changed"):
        measured(captions.head(2), measure)
