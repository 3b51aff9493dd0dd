"""Other datasets are measured exactly as the generated images are, once, and whatever is wrong with one stays there."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_dagster.errors import CaptionSourceError
from synthvlm_dagster.recipe import ComparisonDataset, Recipe
from synthvlm_dagster.scores import references
from synthvlm_dagster.scores.clip import ClipScorer
from synthvlm_dagster.scores.references import (
    SUMMARY,
    measure_references,
    pictures_of_references,
    read_reference,
    read_summary,
    reduced_side,
    reference_sample,
    with_pictures,
)
from synthvlm_dagster.scores.ssim import resize_ssim
from synthvlm_dagster.store.made_from import MadeFrom
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.pictures import draw

SIZES = ((64, 64), (96, 48), (40, 200), (33, 31))
CAPTIONS = tuple(f"picture {number}, drawn" for number in range(len(SIZES)))

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures of several sizes: 0.png, 1.png …"""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (width, height) in enumerate(SIZES):
        draw(f"photo {number}", width, height).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def recipe_with(tmp_path: Path, tiny_recipe: MakeRecipe, tiny_clip_folder: Path) -> MakeRecipe:
    """Makes recipes with comparisons, a tiny scorer and 64-pixel images that SSIM reduces to 21."""

    def make(*comparisons: dict[str, Any], **changed: Any) -> Recipe:
        scoring = {"clip": {"model": str(tiny_clip_folder), "pretrained": None}, "ssim": {"reduced_size": 21}}
        return tiny_recipe({"width": 64, "height": 64}, comparisons=comparisons, scoring=scoring, **changed)

    return make


def coco(photos: Path, names: list[str]) -> dict[str, Any]:
    file = photos.parent / "coco.json"
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    annotations = [{"id": n, "image_id": n, "caption": CAPTIONS[n % len(CAPTIONS)]} for n in range(len(names))]
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return {"name": "coco", "path": str(file), "format": "coco", "image_root": str(photos)}


def llava(photos: Path) -> dict[str, Any]:
    file = photos.parent / "llava.json"
    entries = [
        {
            "id": str(number),
            "image": f"{number}.png",
            "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": caption}],
        }
        for number, caption in enumerate(CAPTIONS)
    ]
    file.write_text(json.dumps(entries))
    return {"name": "llava", "path": str(file), "format": "llava", "image_root": str(photos)}


def webdataset(photos: Path) -> dict[str, Any]:
    file = photos.parent / "00000.tar"
    with tarfile.open(file, "w") as archive:
        for number, caption in enumerate(CAPTIONS):
            for name, content in (
                (f"{number}.png", (photos / f"{number}.png").read_bytes()),
                (f"{number}.txt", caption.encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return {"name": "tars", "path": str(file)}


def test_the_scores_are_those_of_the_recipes_scorer_whatever_the_layout(photos: Path, recipe_with: MakeRecipe) -> None:
    recipe = recipe_with(coco(photos, [f"{n}.png" for n in range(4)]), llava(photos), webdataset(photos))
    summary = measure_references(recipe, Storage(recipe.storage))
    pixels = [np.asarray(draw(f"photo {number}", *size)) for number, size in enumerate(SIZES)]
    clip = ClipScorer(recipe.scoring.clip, "cpu").clip_scores(pixels, CAPTIONS)
    similarities = [resize_ssim(image, size=round(min(image.shape[:2]) * 21 / 64), channels="gray") for image in pixels]
    assert summary["name"].to_list() == ["coco", "llava", "tars"]
    assert summary["pairs"].to_list() == [4, 4, 4]
    assert summary["problem"].null_count() == 3
    for row in summary.iter_rows(named=True):
        assert row["clip_score"] == pytest.approx(clip.mean(), abs=1e-6)
        assert row["ssim"] == pytest.approx(np.mean(similarities), abs=1e-9)
        assert row["weighted_score"] == pytest.approx(row["clip_score"] + 0.5 * row["ssim"])
    assert read_summary(recipe, Storage(recipe.storage)).equals(summary)


def test_images_that_cannot_be_read_are_counted(photos: Path, recipe_with: MakeRecipe) -> None:
    (photos / "1.png").write_bytes(b"no picture")
    draw("tiny", 5, 5).save(photos / "2.png")
    recipe = recipe_with(coco(photos, ["0.png", "1.png", "2.png", "nothing.png"]))
    (row,) = measure_references(recipe, Storage(recipe.storage)).to_dicts()
    assert (row["pairs"], row["unreadable"]) == (1, 3)
    pairs = read_reference(Storage(recipe.storage), row["table"], 1000)
    assert pairs["text"].to_list() == [CAPTIONS[0]]
    assert np.linalg.norm(pairs["embedding"].to_list(), axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_dataset_without_readable_images_says_what_to_do(photos: Path, recipe_with: MakeRecipe) -> None:
    recipe = recipe_with(coco(photos, ["a.png", "b.png"]))
    (row,) = measure_references(recipe, Storage(recipe.storage)).to_dicts()
    assert (row["pairs"], row["unreadable"], row["clip_score"], row["weighted_score"]) == (0, 2, None, None)
    assert row["problem"].startswith("2 times the image is missing. Correct the comparison's image_root")


def test_a_dataset_that_is_not_there_does_not_stop_the_others(photos: Path, recipe_with: MakeRecipe) -> None:
    gone = {"name": "gone", "path": str(photos / "nothing.json"), "format": "coco"}
    said: list[str] = []
    recipe = recipe_with(gone, coco(photos, ["0.png"]))
    summary = measure_references(recipe, Storage(recipe.storage), on_progress=said.append)
    assert summary["pairs"].to_list() == [0, 1]
    assert "no such file" in summary["problem"][0]
    assert any(message.startswith("comparison gone is left out") for message in said)


def test_what_was_measured_is_not_measured_again(
    photos: Path, recipe_with: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = coco(photos, [f"{n}.png" for n in range(4)])
    few, every = recipe_with(dataset | {"sample": 2}), recipe_with(dataset)
    storage = Storage(few.storage)
    (row,) = measure_references(few, storage).to_dicts()
    done = read_reference(storage, row["table"], 2)["text"]
    hidden = next(photos / f"{n}.png" for n, caption in enumerate(CAPTIONS) if caption not in done)
    measured: list[int] = []
    real = references._measure_pairs

    def counting(recipe: Recipe, storage: Storage, table: str, pairs: pl.DataFrame, *rest: Any) -> None:
        measured.append(pairs.height)
        real(recipe, storage, table, pairs, *rest)

    monkeypatch.setattr(references, "_measure_pairs", counting)
    hidden.rename(photos / "aside.png")
    first = measure_references(every, storage)
    (photos / "aside.png").rename(hidden)
    second = measure_references(every, storage)
    third = measure_references(every, storage)
    assert [frame["pairs"].item() for frame in (first, second, third)] == [3, 4, 4]
    assert [frame["unreadable"].item() for frame in (first, second, third)] == [1, 0, 0]
    assert measured == [2, 1], "the two that were missing, then the one that could not be read"
    assert len(read_reference(storage, row["table"], 1000)) == 4
    assert read_reference(storage, row["table"], 2)["text"].to_list() == done.to_list(), "of a smaller sample, no more"


def test_an_image_that_is_another_now_is_measured_again(photos: Path, recipe_with: MakeRecipe) -> None:
    recipe = recipe_with(coco(photos, ["0.png", "1.png", "late.png"]))
    storage = Storage(recipe.storage)

    def changes() -> list[str]:
        record = storage.made_from(SUMMARY)
        assert record is not None
        return record.differences(with_pictures(MadeFrom(code=1), pictures_of_references(recipe, storage)))

    first = measure_references(recipe, storage, MadeFrom(code=1))
    assert changes() == []
    draw("another", 40, 40).save(photos / "0.png")
    draw("late", 40, 40).save(photos / "late.png")
    assert changes() == ["comparisons.coco.images (images) has changed"]
    second = measure_references(recipe, storage, MadeFrom(code=1))
    assert changes() == []
    fresh = measure_references(recipe, Storage(f"{recipe.storage}-fresh"))
    assert first["pairs"].item() == 2
    assert second["pairs"].item() == 3
    assert second.equals(fresh)
    [row] = second.to_dicts()
    pairs = read_reference(storage, row["table"], 1000)
    assert pairs["clip_score"].mean() == row["clip_score"]


def test_the_same_captions_with_other_images_are_kept_apart(photos: Path, recipe_with: MakeRecipe) -> None:
    dataset = coco(photos, ["0.png", "1.png"])
    shutil.copytree(photos, photos.parent / "copies")
    storage = Storage(recipe_with().storage)
    tables = {
        folder: measure_references(recipe_with(dataset | {"image_root": str(photos.parent / folder)}), storage)["table"]
        for folder in ("photos", "copies")
    }
    for folder, table in tables.items():
        uris = read_reference(storage, table.item(), 1000)["image_uri"].to_list()
        assert {str(Path(uri).parent) for uri in uris} == {str(photos.parent / folder)}


def test_a_summary_of_another_scorer_is_not_shown(photos: Path, recipe_with: MakeRecipe) -> None:
    recipe = recipe_with(coco(photos, ["0.png"]))
    storage = Storage(recipe.storage)
    measure_references(recipe, storage)
    scoring = recipe.scoring.model_copy(update={"ssim": recipe.scoring.ssim.model_copy(update={"channels": "rgb"})})
    assert read_summary(recipe.model_copy(update={"scoring": scoring}), storage).is_empty()
    assert read_summary(recipe.model_copy(update={"comparisons": ()}), storage).is_empty()


def test_the_sample_is_seeded_and_does_not_depend_on_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = pl.DataFrame({"caption": [f"caption {n}" for n in range(500)], "image": [f"{n}.png" for n in range(500)]})
    rows.write_csv(tmp_path / "one.csv")
    rows.reverse().write_csv(tmp_path / "two.csv")

    def sample(file: str, seed: int) -> set[str]:
        columns = {"text": "caption", "image": "image"}
        dataset = ComparisonDataset(name="x", path=str(tmp_path / file), columns=columns, sample=50)
        return set(reference_sample(dataset, seed)["text"])

    assert sample("one.csv", 1) == sample("two.csv", 1)
    assert len(sample("one.csv", 1)) == 50
    assert 0 < len(sample("one.csv", 1) & sample("one.csv", 2)) < 25


def test_captions_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red circle\na blue square\n")
    dataset = ComparisonDataset(name="texts", path=str(tmp_path / "captions.txt"))
    with pytest.raises(CaptionSourceError, match=r"comparison texts: .*no caption has an image"):
        reference_sample(dataset, 0)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_the_reduction_keeps_the_papers_ratio(width: int, height: int) -> None:
    recipe = Recipe.model_validate(
        {
            "name": "ratio",
            "sources": [{"name": "x", "path": "x.txt"}],
            "generation": {"model": "maker/circles"},
            "scoring": {"ssim": {"reduced_size": 336}},
            "selection": {"count": 1},
        }
    )
    assert (recipe.generation.width, recipe.generation.height) == (1024, 1024)
    side = reduced_side(width, height, recipe)
    assert 1 <= side <= min(width, height)
    assert abs(side - min(width, height) * 336 / 1024) <= 0.5 or side == 1
