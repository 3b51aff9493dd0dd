"""BLIP's matching head against its plain forward, with a small model that has learned to match colours."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval, BlipProcessor

from synthvlm_dagster.captions.measures.image_text_matching import BlipMatching, check_blip
from synthvlm_dagster.errors import ModelError, RecipeError
from synthvlm_dagster.recipe import ImageTextMatching
from synthvlm_dagster_tests.captions.measures.shown_captions import SHOWN_SCHEMA, shown_captions
from synthvlm_dagster_tests.captions.measures.small_blip import SCENES, configuration, save_small_blip


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_blip(tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture
def captions(tmp_path: Path) -> pl.DataFrame:
    return shown_captions(SCENES * 8, tmp_path)


def matching(folder: Path | str, **changed: Any) -> BlipMatching:
    return BlipMatching(ImageTextMatching(model=str(folder), device="cpu", **changed))


def measured(captions: pl.DataFrame, measure: BlipMatching) -> pl.DataFrame:
    """All frames as one, in the captions' order."""
    frames = pl.concat(measure.measure(captions, lambda _: None))
    assert frames.schema == {"key": pl.String, "value": pl.Float64, "problem": pl.String}
    return captions.select("key").join(frames, on="key", how="left", validate="1:1", maintain_order="left")


def test_captions_that_fit_are_probable_and_others_are_not(blip_folder: Path, captions: pl.DataFrame) -> None:
    right, wrong = measured(captions, matching(blip_folder))["value"].to_numpy().reshape(-1, 2).T
    assert right.min() > 0.8
    assert wrong.max() < 0.2


def test_is_what_the_models_own_forward_gives_a_single_pair(blip_folder: Path, captions: pl.DataFrame) -> None:
    """The call of Data-Juicer's image_text_matching_filter, one caption at a time."""
    texts = [*captions["text"].head(10), "a small yellow cross and a red circle", "circle " * 200]
    captions = captions.head(12).with_columns(text=pl.Series(texts))
    model = BlipForImageTextRetrieval.from_pretrained(blip_folder).eval()
    processor = BlipProcessor.from_pretrained(blip_folder)
    expected = []
    for text, uri in captions.select("text", "image_uri").iter_rows():
        inputs = processor(
            text=text,
            images=[Image.open(uri)],
            return_tensors="pt",
            truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
            padding=True,
        )
        with torch.no_grad():
            expected.append(model(**inputs).itm_score.softmax(dim=-1)[0, 1].item())
    assert measured(captions, matching(blip_folder))["value"].to_list() == pytest.approx(expected, abs=1e-5)


def test_does_not_depend_on_the_batch(blip_folder: Path, captions: pl.DataFrame) -> None:
    words = ["red", "a circle", "a large blue circle on a striped background", "cross " * 15]
    captions = captions.with_columns(text=pl.Series([words[number % 4] for number in range(captions.height)]))
    alone, together = (measured(captions, matching(blip_folder, batch_size=size))["value"] for size in (1, 13))
    assert alone.to_list() == pytest.approx(together.to_list(), abs=1e-5)
    assert alone.n_unique() > 4


def test_what_is_wrong_with_one_image_is_said_of_that_one_alone(
    blip_folder: Path, captions: pl.DataFrame, tmp_path: Path
) -> None:
    expected = measured(captions, matching(blip_folder))["value"]
    (tmp_path / "0.png").write_bytes(b"a caption")
    (tmp_path / "1.png").unlink()
    rows = measured(captions, matching(blip_folder, batch_size=2))
    assert rows["problem"].to_list()[:4] == [
        "the image cannot be decoded: it is in no image format that Pillow knows",
        "the image cannot be decoded: it is in no image format that Pillow knows",
        "the image is missing",
        "the image is missing",
    ]
    assert rows["problem"].null_count() == rows.height - 4
    assert rows["value"].null_count() == 4
    assert rows["value"][4:].to_list() == pytest.approx(expected[4:].to_list(), abs=1e-5)


def test_half_precision_decides_alike(blip_folder: Path, captions: pl.DataFrame) -> None:
    full = measured(captions, matching(blip_folder))["value"] >= 0.5
    assert (measured(captions, matching(blip_folder, dtype="bfloat16"))["value"] >= 0.5).equals(full)


def test_identity_changes_with_all_that_changes_values(blip_folder: Path) -> None:
    identity = matching(blip_folder).identity
    assert matching(blip_folder, batch_size=3, min=0.1, if_not_measured="reject").identity == identity
    others = [matching(blip_folder, dtype="float16"), matching("org/blip"), matching("org/blip", revision="abc")]
    assert len({identity, *(other.identity for other in others)}) == 4


def test_captions_without_images_need_no_model() -> None:
    captions = pl.DataFrame([("a", "a circle", None)], schema=SHOWN_SCHEMA, orient="row")
    assert measured(captions, matching("org/none")).rows() == [("a", None, "the caption has no image")]


def refusal(model: Path | str, captions: pl.DataFrame, **changed: Any) -> str:
    with pytest.raises(ModelError) as caught:
        list(matching(model, **changed).measure(captions, lambda _: None))
    assert str(caught.value).startswith("curation.rules.image_text_matching.model: ")
    return str(caught.value)


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_refuses_folders_that_are_no_retrieval_model(blip_folder: Path, captions: pl.DataFrame, tmp_path: Path) -> None:
    check_blip(ImageTextMatching(model=str(blip_folder)))
    check_blip(ImageTextMatching())
    (tmp_path / "empty").mkdir()
    assert "config.json: cannot be read" in refusal(tmp_path / "empty", captions)
    assert "neither a folder nor a hub id" in refusal("blip", captions)

    pickled = copy(blip_folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "holds no weights (*.safetensors)" in refusal(pickled, captions)

    other = copy(blip_folder, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "is a model of type bert, not blip" in refusal(other, captions)

    torn = copy(blip_folder, tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:1000])
    assert "cannot be loaded" in refusal(torn, captions)

    captioning = copy(blip_folder, tmp_path / "captioning")
    BlipForConditionalGeneration(configuration(46)).save_pretrained(captioning)
    assert "is no BLIP retrieval model: its weights lack itm_head.bias and" in refusal(captioning, captions)


def test_missing_folders_and_devices_are_named(blip_folder: Path, captions: pl.DataFrame) -> None:
    with pytest.raises(ModelError, match="/nowhere: no such model folder"):
        matching("/nowhere")
    with pytest.raises(ModelError, match=r"image_text_matching\.model: /nowhere: no such model folder"):
        check_blip(ImageTextMatching(model="/nowhere"))
    rule = ImageTextMatching(model=str(blip_folder), device="abacus")
    with pytest.raises(RecipeError, match=r"curation\.rules\.image_text_matching\.device: torch cannot use .abacus"):
        list(BlipMatching(rule).measure(captions, lambda _: None))


def test_a_hub_model_without_network(captions: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path / "cache"), raising=False)
    words = refusal("someone/some-blip", captions, revision="abc")
    assert "cannot be loaded" in words
    assert "needs the network" in words
