"""The exports and the report as Dagster makes and checks them."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from synthvlm_dagster.dataset import assets, checks
from synthvlm_dagster.dataset.pairs import SELECTED
from synthvlm_dagster_tests.dataset.conftest import Project

MakeProject = Callable[..., Project]


def materialize(project: Project) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [
            assets.llava_dataset,
            assets.webdataset,
            assets.quality_report,
            checks.llava_holds_the_selected_pairs,
            checks.webdataset_holds_the_selected_pairs,
        ],
        resources={"recipe": project.recipe, "storage": project.storage},
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def test_exports_are_made_and_their_checks_pass(make_project: MakeProject) -> None:
    project = make_project()
    result = materialize(project)
    evaluations = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert evaluations == {"llava_holds_the_selected_pairs": True, "webdataset_holds_the_selected_pairs": True}
    best = project.selected.sort("rank")["image_id"][0]
    llava, tars = metadata(result, "llava_dataset"), metadata(result, "webdataset")
    assert llava["dagster/row_count"] == tars["dagster/row_count"] == project.selected.height
    assert llava["dagster/uri"] == project.storage.url("dataset/llava")
    assert llava["sample"]["id"] == best
    assert tars["sample"]["image_id"] in project.selected["image_id"].to_list()
    report = metadata(result, "quality_report")
    assert report["page"] == project.storage.url("dataset/report/index.html")
    assert "| CLIPScore |" in report["preview"]


def test_a_selection_changed_behind_the_exports_fails_their_checks(make_project: MakeProject) -> None:
    project = make_project()
    materialize(project)
    dropped = project.selected.filter(pl.col("rank") == 1)["image_id"][0]
    project.storage.write_table(SELECTED, project.selected.filter(pl.col("rank") > 1))
    llava = checks.llava_holds_the_selected_pairs(project.storage)
    tars = checks.webdataset_holds_the_selected_pairs(project.recipe, project.storage)
    assert not llava.passed
    assert llava.description == f"1 unexpected: {dropped}"
    assert not tars.passed
    assert f"3 unexpected: {dropped}.json" in tars.description
