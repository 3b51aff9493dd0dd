"""The exports and the report as Dagster makes and checks them."""

import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.dataset import assets, checks
from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.huggingface import write_huggingface
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.table import images_table
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import RECIPES_FOLDER, parse_recipe
from synthvlm_dagster_tests.dataset.conftest import Project

MakeProject = Callable[..., Project]

EXPORTS = ("llava", "webdataset", "huggingface")


def materialize(project: Project) -> dg.ExecuteInProcessResult:
    dataset = Dataset(project.recipe)
    return dg.materialize(
        [
            part(dataset)
            for part in (
                assets.llava_dataset,
                assets.webdataset,
                assets.dataset_card,
                assets.huggingface_dataset,
                assets.quality_report,
                checks.llava_holds_the_selected_pairs,
                checks.webdataset_holds_the_selected_pairs,
                checks.huggingface_holds_the_selected_pairs,
            )
        ],
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def test_exports_are_made_and_their_checks_pass(make_project: MakeProject) -> None:
    project = make_project()
    result = materialize(project)
    evaluations = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert evaluations == {f"{export}_holds_the_selected_pairs": True for export in EXPORTS}
    best = project.selected.sort("rank")["image_id"][0]
    llava, tars = metadata(result, "llava_dataset"), metadata(result, "webdataset")
    assert llava["dagster/row_count"] == tars["dagster/row_count"] == project.selected.height
    assert llava["dagster/uri"] == project.storage.url("dataset/llava")
    assert llava["sample"]["id"] == best
    assert tars["sample"]["image_id"] in project.selected["image_id"].to_list()
    rows = metadata(result, "huggingface_dataset")
    assert rows["dagster/row_count"] == project.selected.height
    assert rows["dagster/uri"] == project.storage.url("dataset/huggingface")
    assert rows["sample"]["image_id"] in project.selected["image_id"].to_list()
    card = metadata(result, "dataset_card")
    assert card["dagster/uri"] == project.storage.url("dataset/card.md")
    assert card["card"] in project.storage.read_bytes("dataset/huggingface/README.md").decode()
    report = metadata(result, "quality_report")
    assert report["page"] == project.storage.url("dataset/report/index.html")
    assert "| CLIPScore |" in report["preview"]


def test_a_selection_changed_behind_the_exports_fails_their_checks(make_project: MakeProject) -> None:
    project = make_project()
    materialize(project)
    dropped = project.selected.filter(pl.col("rank") == 1)["image_id"][0]
    project.storage.write_table(SELECTED, project.selected.filter(pl.col("rank") > 1))
    dataset = Dataset(project.recipe)
    llava = checks.llava_holds_the_selected_pairs(dataset)()
    tars = checks.webdataset_holds_the_selected_pairs(dataset)()
    assert not llava.passed
    assert llava.description == f"1 unexpected: {dropped}"
    assert not tars.passed
    assert f"3 unexpected: {dropped}.json" in tars.description
    rows = checks.huggingface_holds_the_selected_pairs(dataset)()
    assert rows.description == f"1 unexpected: {dropped}"


@pytest.mark.parametrize("export", [write_llava, write_webdataset, write_huggingface])
def test_a_missing_image_leaves_the_old_export(make_project: MakeProject, export: Callable) -> None:
    project = make_project()
    write_card(project.recipe, project.storage)
    export(project.recipe, project.storage)
    storage = project.storage
    before = {path: storage.read_bytes(path) for path in storage.files("dataset")}
    shard = project.selected["shard"][0]
    for path in storage.files(images_table(project.recipe, shard)):
        storage.delete(path)
    with pytest.raises(StorageError, match=rf"Materialize generated_images\[{shard}\] again"):
        export(project.recipe, storage)
    assert {path: storage.read_bytes(path) for path in storage.files("dataset")} == before
    assert not [path for path in Path(storage.url("dataset")).iterdir() if path.name.startswith(".tmp-")]


def test_exports_can_be_switched_off(tmp_path: Path) -> None:
    text = (RECIPES_FOLDER / "start.yaml").read_text()
    text = re.sub(r"(llava|huggingface): \{.*\}", r"\1: null", text)
    recipe = parse_recipe(text, tmp_path / "recipe.yaml")
    graph = build_definitions(recipe).resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    check_names = sorted(key.name for key in graph.asset_check_keys)
    assert {"selected_pairs", "webdataset", "dataset_card", "quality_report"} <= names
    assert not {"llava_dataset", "huggingface_dataset"} & names
    assert [name for name in check_names if "holds" in name] == ["webdataset_holds_the_selected_pairs"]
