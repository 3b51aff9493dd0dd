"""The exports and the report as Dagster makes and checks them."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from synthvlm_dagster.dataset import assets, checks
from synthvlm_dagster.dataset.exports.card import write_card
from synthvlm_dagster.dataset.exports.export import Export, say_nothing
from synthvlm_dagster.dataset.exports.huggingface import write_huggingface
from synthvlm_dagster.dataset.exports.listing import all_exports
from synthvlm_dagster.dataset.exports.llava import write_llava
from synthvlm_dagster.dataset.exports.webdataset import write_webdataset
from synthvlm_dagster.dataset.made_from import why_outdated
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster.definitions import build_definitions
from synthvlm_dagster.errors import StorageError
from synthvlm_dagster.images.naming import images_table
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe.exports import Exports
from synthvlm_dagster_tests.dataset.conftest import Project

MakeProject = Callable[..., Project]


def materialize(project: Project) -> dg.ExecuteInProcessResult:
    dataset = Dataset(project.recipe)
    exports = [assets.export_of_pairs(dataset, export) for export in all_exports()]
    verified = [checks.export_holds_the_selected_pairs(dataset, export) for export in all_exports()]
    pages = [assets.dataset_card(dataset), assets.quality_report(dataset)]
    return dg.materialize([*exports, *pages, *verified], raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def test_exports_are_made_and_their_checks_pass(make_project: MakeProject) -> None:
    project = make_project()
    result = materialize(project)
    names = [export.name for export in all_exports()]
    assert {"llava", "webdataset", "huggingface"} <= set(names)
    evaluations = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert evaluations == {f"{export}_holds_the_selected_pairs": True for export in names}
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
    assert card["dagster/uri"] == project.storage.url("dataset/card/card.md")
    assert card["card"] in project.storage.read_bytes("dataset/huggingface/README.md").decode()
    report = metadata(result, "quality_report")
    assert report["page"] == project.storage.url("dataset/report/index.html")
    assert "| CLIPScore |" in report["preview"]


def check_of(project: Project, export: Export) -> dg.AssetCheckEvaluation:
    """The export's check, run by itself."""
    check = checks.export_holds_the_selected_pairs(Dataset(project.recipe), export)
    asset = dg.AssetSpec(export.asset)
    job = dg.define_asset_job("check", selection=dg.AssetSelection.checks(check))
    definitions = dg.Definitions(assets=[asset], asset_checks=[check], jobs=[job])
    result = definitions.resolve_job_def("check").execute_in_process(raise_on_error=False)
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def test_a_selection_changed_behind_the_exports_fails_their_checks(make_project: MakeProject) -> None:
    project = make_project()
    materialize(project)
    dropped = project.selected.filter(pl.col("rank") == 1)["image_id"][0]
    project.storage.write_table(SELECTED, project.selected.filter(pl.col("rank") > 1))
    llava, tars, rows = (check_of(project, export) for export in all_exports())
    assert not llava.passed
    assert llava.description.startswith(f"1 unexpected: {dropped}. `synthvlm run`, or materializing llava_dataset, ")
    assert not tars.passed
    assert f"3 unexpected: {dropped}.json" in tars.description
    assert rows.description.startswith(
        f"1 unexpected: {dropped}. `synthvlm run`, or materializing huggingface_dataset, "
    )


def test_a_failed_check_fails_the_run_and_has_the_export_written_again(make_project: MakeProject) -> None:
    project = make_project()
    assert materialize(project).success
    export = all_exports()[0]
    assert check_of(project, export).passed
    assert why_outdated(export.asset, project.recipe, project.storage) is None
    one, other = project.storage.files(export.folder, ".png")[:2]
    content = project.storage.read_bytes(one)
    project.storage.write_bytes(one, project.storage.read_bytes(other))
    evaluation = check_of(project, export)
    assert not evaluation.passed
    assert evaluation.blocking
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    reason = why_outdated(export.asset, project.recipe, project.storage)
    assert reason is not None
    assert reason.startswith("its check llava_holds_the_selected_pairs failed: 1 wrong pictures: ")
    assert materialize(project).success
    assert project.storage.read_bytes(one) == content
    assert why_outdated(export.asset, project.recipe, project.storage) is None


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


def test_exports_can_be_switched_off(make_project: MakeProject) -> None:
    recipe = make_project(exports={"llava": None, "huggingface": None}).recipe
    graph = build_definitions(recipe).resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert {"selected_pairs", "webdataset", "dataset_card", "quality_report"} <= names
    assert not {"llava_dataset", "huggingface_dataset"} & names
    check_names = sorted(key.name for key in graph.asset_check_keys)
    assert [name for name in check_names if "holds" in name] == ["webdataset_holds_the_selected_pairs"]


def test_every_export_has_its_settings_in_the_recipe_and_its_rows_described(make_project: MakeProject) -> None:
    project = make_project()
    write_card(project.recipe, project.storage)
    for export in all_exports():
        assert export.name in Exports.model_fields
        written = export.write(project.recipe, project.storage, say_nothing)
        assert written.pairs == project.selected.height
        assert all(kind and meaning for kind, meaning in written.columns.values())
        assert export.verify(project.recipe, project.storage, say_nothing).passed
