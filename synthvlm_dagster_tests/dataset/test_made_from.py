"""What an edit of the recipe or of a file makes outdated: what it shapes, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.dataset.assets import dataset_assets
from synthvlm_dagster.dataset.made_from import PLACES, Origins
from synthvlm_dagster.dataset.pairs import SELECTED, SET_ASIDE
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.store.storage import WHOLE_TABLE, Storage
from synthvlm_dagster_tests.dataset.conftest import good_captions
from synthvlm_dagster_tests.dataset.made_project import changed_recipe, give_images_and_scores, make_project

CURATION = {"curated_captions", "rejected_captions"}
EXPORTS = {"llava_dataset", "webdataset", "huggingface_dataset"}
PAGES = {"dataset_card", "quality_report"}
MEASURED = {"selected_pairs", *PAGES}
DRAWN = {*MEASURED, *EXPORTS}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project of which every table, export and page has been made."""
    folder = tmp_path_factory.mktemp("made")
    make_project(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """The same, moved elsewhere, for a test to change."""
    return Path(shutil.copytree(made, tmp_path / "moved", symlinks=True))


def outdated(folder: Path, **changed: Any) -> set[str]:
    recipe = changed_recipe(folder, **changed)
    origins = Origins(recipe, Storage(recipe.storage))
    return {name for name in PLACES if name != "reference_scores" and origins.why_outdated(name)}


def test_a_project_that_has_been_moved_is_up_to_date(project: Path) -> None:
    assert outdated(project) == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"curation__rules": {"num_words": {"max": 12}}}, {*CURATION, *PAGES}),
        ({"curation__rules": {"duplicates": None}}, {*CURATION, *PAGES}),
        ({"curation__text_template": "{caption}"}, {*CURATION, *PAGES}),
        ({"shards": 3}, {*CURATION, *PAGES}),
        ({"attempts__per_caption": 1}, {"planned_attempts", *PAGES}),
        ({"attempts__max_captions": 3}, {"planned_attempts", *PAGES}),
        ({"seed": 1}, DRAWN),
        ({"generation__num_inference_steps": 2}, DRAWN),
        ({"generation__scheduler": {"name": "DDIMScheduler"}}, DRAWN),
        ({"scoring__clip__prompt_prefix": "a picture of "}, MEASURED),
        ({"scoring__ssim": {"window": "gaussian"}}, MEASURED),
        ({"scoring__judges": {"siglip": {}}}, MEASURED),
        ({"selection": {"count": 3}}, {*MEASURED, "huggingface_dataset"}),
        ({"selection__ssim_weight": 0.25}, {*MEASURED, "huggingface_dataset"}),
        ({"exports": {"llava": {"image_size": 32}}}, {"llava_dataset"}),
        ({"exports": {"webdataset": {"pairs_per_tar": 2}}}, {"webdataset"}),
        ({"exports": {"huggingface": {"megabytes_per_file": 1}}}, {"huggingface_dataset"}),
        ({"exports": {"licence": "cc-by-4.0"}}, {"huggingface_dataset", *PAGES}),
        ({"description": "Circles."}, {"huggingface_dataset", *PAGES}),
        ({"report": {"gallery_pairs": 4}}, {"quality_report"}),
        ({"generation__batch_size": 3}, set()),
        ({"generation__device": "cpu"}, set()),
        ({"scoring__batch_size": 3}, set()),
        ({"shards_per_run": 1}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_outdates_what_it_shapes(made: Path, changed: dict[str, Any], expected: set[str]) -> None:
    assert outdated(made, **changed) == expected
    assert outdated(made) == set()


def rewrite(file: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / file).write_text(text)

    return edit


def delete(path: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        target = folder / "store" / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return edit


def cut(pattern: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = next(path for path in (folder / "store").glob(pattern) if path.is_file())
        file.write_bytes(file.read_bytes()[:-1])

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (rewrite("captions.txt", "\n".join(good_captions(11)) + "\n"), {"raw_captions"}),
        (rewrite("words.txt", "crimson\n"), CURATION),
        (rewrite("generator/weights.safetensors", "retrained"), DRAWN),
        (rewrite("judge/weights.safetensors", "retrained"), MEASURED),
        (delete("captions/raw"), {"raw_captions", *CURATION, *PAGES}),
        (delete("captions/kept_by_template"), {"curated_captions", "quality_report"}),
        (delete(SELECTED), {"selected_pairs", *EXPORTS, *PAGES}),
        (delete(SET_ASIDE), {"selected_pairs", *PAGES}),
        (delete("dataset/llava/synthvlm.json"), {"llava_dataset"}),
        (cut("dataset/llava/images/*/*.png"), {"llava_dataset"}),
        (cut("dataset/webdataset/*.tar"), {"webdataset"}),
        (delete("dataset/huggingface/README.md"), {"huggingface_dataset"}),
        (delete("dataset/report/index.html"), {"quality_report"}),
        (delete("dataset/card/card.md"), {"dataset_card", "huggingface_dataset"}),
    ],
)
def test_a_file_outdates_what_it_shapes(project: Path, edit: Callable[[Path], None], expected: set[str]) -> None:
    edit(project)
    assert outdated(project) == expected


def test_the_reason_is_told_in_words(project: Path) -> None:
    def why(asset: str, **changed: Any) -> str | None:
        recipe = changed_recipe(project, **changed)
        return Origins(recipe, Storage(recipe.storage)).why_outdated(asset)

    assert why("selected_pairs", selection={"share": 0.25}) == "selection.share is 0.25, was 0.5"
    assert why("planned_attempts", attempts__per_caption=3) == "attempts.per_caption is 3, was 2"
    assert why("llava_dataset", exports={"llava": {"image_size": 32}}) == "exports.llava.image_size is 32, was null"
    (project / "words.txt").write_text("crimson\n")
    assert why("curated_captions") == "curation.flagged_words (words.txt) has changed"
    (project / "captions.txt").write_text("a plain grey circle on a white page\n")
    assert why("raw_captions") == "sources.given (captions.txt) has changed"


def test_a_table_of_another_program_is_made_again(project: Path) -> None:
    table = project / "store" / SELECTED / WHOLE_TABLE
    pl.read_parquet(table).write_parquet(table)
    recipe = changed_recipe(project)
    origins = Origins(recipe, Storage(recipe.storage))
    assert origins.why_outdated("selected_pairs") == "nothing says what it was made from"


@pytest.mark.parametrize("name", ["raw_captions", "planned_attempts", "selected_pairs"])
def test_a_damaged_table_outdates_itself_and_what_is_made_of_it(project: Path, name: str) -> None:
    table = project / "store" / PLACES[name] / WHOLE_TABLE
    table.write_bytes(table.read_bytes()[:-9])
    recipe = changed_recipe(project)
    origins = Origins(recipe, Storage(recipe.storage))
    reason = origins.why_outdated(name)
    assert reason is not None
    assert "is damaged" in reason
    assert origins.why_outdated("quality_report")
    assert origins.why_outdated("raw_captions" if name != "raw_captions" else "planned_attempts") is None


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("asset", sorted(EXPORTS | PAGES))
def test_pairs_of_another_generator_are_not_published(project: Path, asset: str, instance: dg.DagsterInstance) -> None:
    dataset = Dataset(changed_recipe(project, generation__num_inference_steps=2))
    give_images_and_scores(dataset.recipe, dataset.storage)
    before = {path: dataset.storage.read_bytes(path) for path in dataset.storage.files(PLACES[asset])}
    assets = dataset_assets(dataset)
    with pytest.raises(StorageError, match=r"not those of the recipe.*the generator is .*Materialize selected"):
        dg.materialize(assets, selection=[dataset.key(asset)], instance=instance)
    assert {path: dataset.storage.read_bytes(path) for path in dataset.storage.files(PLACES[asset])} == before
