"""A data engineer's first visit, click by click; the tests build on each other."""

import re
from pathlib import Path

import polars as pl

from synthvlm_dagster.images.naming import generator_name
from synthvlm_dagster_tests.end_to_end.project import EVERY_ASSET

STATUS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numMaterialized numFailed numMaterializing numPartitions }
    assetMaterializations(limit: 1) { runId }
  } }
}
"""
BACKFILLS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { id status } } } }"
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
STALE = """
query ($key: AssetKeyInput!, $partition: String) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    staleStatus(partition: $partition) staleCauses(partition: $partition) { reason }
  } }
}
"""


def status(ui, asset):
    return ui.query(STATUS, key={"path": [asset]})["assetNodeOrError"]


def runs(ui):
    return ui.query(RUNS)["runsOrError"]["results"]


def open_materialize_dialog(page, label):
    page.get_by_role("button", name=label).first.click()
    page.get_by_text("Partition selection").wait_for()


def test_the_lineage_is_shown_without_a_pop_up(ui, page, screenshot):
    page.goto(f"{ui.url}/asset-groups")
    for group in ("captions", "images", "scores", "dataset"):
        page.get_by_text(group, exact=True).first.wait_for()
    assert page.get_by_role("dialog").count() == 0
    screenshot("empty-instance")


def test_one_backfill_of_everything_from_an_empty_instance(ui, page, screenshot):
    page.goto(f"{ui.url}/asset-groups")
    open_materialize_dialog(page, "Materialize all")
    page.get_by_role("button", name="All", exact=True).click()
    screenshot("materialize-all")
    page.get_by_role("button", name="Launch backfill").click()

    def finished():
        results = ui.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
        assert not any(result["status"] in ("FAILED", "COMPLETED_FAILED", "CANCELED") for result in results), results
        return bool(results) and all(result["status"] == "COMPLETED_SUCCESS" for result in results)

    ui.wait_for(finished, "the backfill", 540)
    assert {run["status"] for run in runs(ui)} == {"SUCCESS"}
    for asset in EVERY_ASSET:
        assert status(ui, asset)["assetMaterializations"], asset
    for asset in ("generated_images", "image_scores"):
        assert status(ui, asset)["partitionStats"]["numMaterialized"] == 3, asset
        for shard in ui.project.recipe.shard_keys:
            stale = ui.query(STALE, key={"path": [asset]}, partition=shard)["assetNodeOrError"]
            assert stale["staleStatus"] == "FRESH", (asset, shard, stale)
    assert len(ui.project.image_ids()) == len(set(ui.project.image_ids())) == 20


def test_the_graph_shows_every_asset_materialized(ui, page, screenshot):
    page.set_viewport_size({"width": 1600, "height": 760})
    page.goto(f"{ui.url}/asset-groups")
    page.get_by_text("captions", exact=True).last.wait_for()
    page.wait_for_timeout(2000)
    page.keyboard.press("Alt+KeyE")
    for asset in EVERY_ASSET:
        # A small node shows a long name without its middle.
        shown = re.compile(rf"^{asset[:8]}.*{asset[-8:]}$") if len(asset) > 18 else re.compile(rf"^{asset}$")
        page.get_by_text(shown).first.wait_for()
    screenshot("asset-graph")


def test_a_shards_page_shows_its_contact_sheet(ui, page, screenshot):
    page.goto(f"{ui.url}/assets/generated_images?view=partitions&partition=0000")
    page.get_by_text("contact_sheet").first.wait_for()
    screenshot("shard")
    page.get_by_text("Show Markdown").first.click()
    sheet = page.get_by_role("dialog").locator("img").first
    sheet.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=sheet.element_handle())
    screenshot("contact-sheet")


def test_the_selected_dataset_has_a_page(ui, page, screenshot):
    page.goto(f"{ui.url}/assets/selected_pairs")
    page.get_by_text("weighted_score").first.wait_for()
    page.get_by_text("Row count").first.wait_for()
    screenshot("selected-pairs")


def test_a_failed_shard_is_seen_and_repaired_alone(ui, page, screenshot):
    table = f"images/{generator_name(ui.project.recipe)}/0001"
    shard, aside = Path(ui.project.storage.url(table)), ui.project.folder / "aside"
    shard.rename(aside)
    shard.write_text("a file where the shard's folder should be")

    page.goto(f"{ui.url}/assets/generated_images?view=partitions")
    open_materialize_dialog(page, "Materialize")
    page.get_by_text("Select a partition").click()
    page.get_by_placeholder("Filter partitions").fill("0001")
    page.get_by_text("Select all").click()
    page.get_by_text("Launch runs to materialize").click()
    page.get_by_role("button", name="Launch 1 run").click()
    ui.wait_for(lambda: status(ui, "generated_images")["partitionStats"]["numFailed"] == 1, "the failure")
    page.goto(f"{ui.url}/assets/generated_images?view=partitions&partition=0001")
    page.get_by_text("did not materialize this asset").wait_for()
    screenshot("failed-shard")

    shard.unlink()
    before = len(runs(ui))
    page.goto(f"{ui.url}/assets/generated_images?view=partitions")
    open_materialize_dialog(page, "Materialize")
    page.get_by_role("button", name="Failed", exact=True).click()
    page.get_by_role("button", name="Launch 1 run").click()
    ui.wait_for(lambda: status(ui, "generated_images")["partitionStats"]["numMaterialized"] == 3, "the repair")
    launched = runs(ui)[: len(runs(ui)) - before]
    assert len(launched) == 1
    assert {"key": "dagster/partition", "value": "0001"} in launched[0]["tags"]
    made_again, made_first = (pl.read_parquet(folder / "*.parquet").sort("image_id") for folder in (shard, aside))
    assert made_again.equals(made_first), "made again, an image is the same to the byte"


def test_the_report_can_be_read(ui, page, screenshot):
    page.goto(f"file://{ui.project.storage.url('dataset/report/index.html')}")
    page.get_by_text("CLIPScore").first.wait_for()
    broken = "() => [...document.images].filter(image => image.complete && image.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    screenshot("report")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    screenshot("report-on-a-phone")
