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
NUMBERS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode {
    assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } }
  } }
}
"""
SCHEDULES = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name scheduleState { status } } } } } }
"""
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


def runs_launched_by(ui, button):
    """Click, and give a function that lists the runs since, newest first."""
    before = {run["runId"] for run in runs(ui)}
    button.click()
    return lambda: [run for run in runs(ui) if run["runId"] not in before]


def launch_shards(ui, page, *shards):
    """Choose shards one by one in the dialog of the asset's page, and launch."""
    open_materialize_dialog(page, "Materialize")
    page.get_by_text("Select a partition").click()
    for shard in shards:
        page.get_by_placeholder("Filter partitions").fill(shard)
        page.get_by_text("Select all (1)").wait_for()
        # The list lies over everything else, and so comes last.
        page.locator(f'text="{shard}" >> visible=true').last.click()
    page.get_by_text("Launch runs to materialize").click()
    page.get_by_text(re.compile(rf"^{len(shards)} partitions?$")).first.wait_for()
    return runs_launched_by(ui, page.get_by_role("button", name=re.compile("Launch (1 run|backfill)")))


def open_launchpad(ui, page, asset):
    """The config that the launchpad shows to begin with."""
    page.goto(f"{ui.url}/assets/{asset}")
    page.get_by_role("button", name="Materialize").first.locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    editor = page.get_by_role("dialog").locator(".CodeMirror").first
    editor.wait_for()
    page.get_by_text("No errors").wait_for()
    return editor.evaluate("editor => editor.CodeMirror.getValue()")


def materialize_with(ui, page, config):
    """Launch the run of an open launchpad with other config, and wait until it has succeeded."""
    dialog = page.get_by_role("dialog")
    dialog.locator(".CodeMirror").first.evaluate("(editor, text) => editor.CodeMirror.setValue(text)", config)
    # The config is checked a moment after it was typed; a button that is pressed meanwhile does nothing.
    page.wait_for_timeout(2000)
    page.get_by_text("No errors").wait_for()
    before = {run["runId"] for run in runs(ui)}
    dialog.get_by_role("button", name="Materialize").click()
    ui.wait_for(
        lambda: [run["status"] for run in runs(ui) if run["runId"] not in before] == ["SUCCESS"], "the run with config"
    )


def newest_numbers(ui, asset):
    [made] = ui.query(NUMBERS, key={"path": [asset]})["assetNodeOrError"]["assetMaterializations"]
    return {entry["label"]: entry["intValue"] for entry in made["metadataEntries"] if entry.get("intValue") is not None}


def schedule_states(ui):
    [repository] = ui.query(SCHEDULES)["repositoriesOrError"]["nodes"]
    return {schedule["name"]: schedule["scheduleState"]["status"] for schedule in repository["schedules"]}


def in_shard(ui, image, shard):
    plan = ui.project.storage.scan("plans/attempts").filter(pl.col("shard") == shard).collect()
    return image[:16] in set(plan["caption_id"])


def test_the_lineage_is_shown_without_a_pop_up(ui, page, screenshot):
    page.goto(f"{ui.url}/asset-groups")
    for group in ("captions", "images", "scores", "dataset"):
        page.get_by_text(group, exact=True).first.wait_for()
    assert page.get_by_role("dialog").count() == 0
    screenshot("empty-instance")


def test_the_dialog_knows_which_shards_are_missing(ui, page):
    page.goto(f"{ui.url}/assets/generated_images?view=partitions")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("upstream assets listed below have not been materialized yet").wait_for()
    page.get_by_role("button", name="Confirm").click()
    for choice, count in (("Missing", 3), ("Failed", 0), ("Failed and missing", 3), ("All", 3)):
        page.get_by_role("button", name=choice, exact=True).click()
        page.get_by_text(re.compile(rf"^{count} partitions?$")).first.wait_for()


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
    launched = launch_shards(ui, page, "0001", "0002")
    ui.wait_for(lambda: status(ui, "generated_images")["partitionStats"]["numFailed"] == 1, "the failure")
    [failed] = launched()
    page.goto(f"{ui.url}/runs/{failed['runId']}")
    page.get_by_text("1 of 2 shards failed").first.wait_for()
    screenshot("failed-run")
    page.goto(f"{ui.url}/assets/generated_images?view=partitions&partition=0001")
    page.get_by_text("did not materialize this asset").wait_for()
    screenshot("failed-shard")

    shard.unlink()
    page.goto(f"{ui.url}/assets/generated_images?view=partitions")
    open_materialize_dialog(page, "Materialize")
    for choice, count in (("Missing", 0), ("Failed and missing", 1), ("Failed", 1)):
        page.get_by_role("button", name=choice, exact=True).click()
        page.get_by_text(re.compile(rf"^{count} partitions?$")).first.wait_for()
    screenshot("backfill-failed")
    launched = runs_launched_by(ui, page.get_by_role("button", name="Launch 1 run"))
    ui.wait_for(lambda: status(ui, "generated_images")["partitionStats"]["numMaterialized"] == 3, "the repair")
    [repaired] = launched()
    assert {"key": "dagster/partition", "value": "0001"} in repaired["tags"]
    made_again, made_first = (pl.read_parquet(folder / "*.parquet").sort("image_id") for folder in (shard, aside))
    assert made_again.equals(made_first), "made again, an image is the same to the byte"

    page.goto(f"{ui.url}/runs/{failed['runId']}")
    page.get_by_role("button", name="Re-execute all").locator("xpath=following::button[1]").click()
    page.get_by_text("From failure").click()
    launched = runs_launched_by(ui, page.get_by_role("button", name="Confirm"))
    ui.wait_for(lambda: [run["status"] for run in launched()] == ["SUCCESS"], "the run from the failure on")
    assert len(ui.project.image_ids()) == len(set(ui.project.image_ids())) == 20, "nothing was missing any more"


def test_settings_of_one_run_are_given_in_the_launchpad_and_told(ui, page, screenshot):
    shown = open_launchpad(ui, page, "selected_pairs")
    assert "count: 5" in shown, "the recipe's values are filled in"
    screenshot("launchpad")
    materialize_with(ui, page, shown.replace("count: 5", "count: 3"))
    assert ui.project.storage.scan("dataset/selected").collect().height == 3
    page.goto(f"{ui.url}/assets/selected_pairs")
    page.get_by_text("set_for_this_run").first.scroll_into_view_if_needed()
    page.get_by_text("selection.count").first.wait_for()
    screenshot("set-for-this-run")


def test_a_cancelled_generation_keeps_its_images_and_goes_on_from_there(ui, page, screenshot):
    open_launchpad(ui, page, "planned_attempts")
    materialize_with(ui, page, "ops: {planned_attempts: {config: {per_caption: 40}}}")
    planned = ui.project.storage.scan("plans/attempts").filter(pl.col("shard") == "0000").collect().height
    others = sum(1 for name in ui.project.image_ids() if not in_shard(ui, name, "0000"))

    page.goto(f"{ui.url}/assets/generated_images?view=partitions")
    launched = launch_shards(ui, page, "0000")
    ui.wait_for(lambda: launched() and len(ui.project.image_ids()) > 30, "the first images")
    [cancelled] = launched()
    page.goto(f"{ui.url}/runs/{cancelled['runId']}")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    ui.wait_for(lambda: launched()[0]["status"] == "CANCELED", "the end")
    kept = len(ui.project.image_ids()) - others
    assert 10 < kept < planned
    page.goto(f"{ui.url}/runs/{cancelled['runId']}")
    page.get_by_text("Canceled").first.wait_for()
    screenshot("cancelled-run")

    launched = runs_launched_by(ui, page.get_by_role("button", name="Re-execute all"))
    ui.wait_for(lambda: [run["status"] for run in launched()] == ["SUCCESS"], "the rest")
    assert newest_numbers(ui, "generated_images")["images_made_now"] == planned - kept
    names = ui.project.image_ids()
    assert len(names) == len(set(names)) == others + planned


def test_the_next_run_of_the_terminal_is_as_the_recipe_says(ui):
    outcome = ui.project.synthvlm("run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "attempts.per_caption 40 (recipe: 2), set for one run; now as the recipe says" in outcome.stdout
    assert ui.project.storage.scan("dataset/selected").collect().height == 5
    assert ui.project.storage.scan("plans/attempts").collect().height == 20


def test_numbers_are_drawn_over_the_shards(ui, page, screenshot):
    page.goto(f"{ui.url}/assets/image_scores")
    page.get_by_role("button", name="Plots").click()
    page.get_by_text("clip_score_mean").first.scroll_into_view_if_needed()
    page.locator("canvas").first.wait_for()
    screenshot("plots")


def test_a_schedule_is_started(ui, page, screenshot):
    page.goto(f"{ui.url}/automation")
    name = page.get_by_text("refresh_stale_shards", exact=True)
    switch = name.locator("xpath=following::label[1]")
    switch.locator("xpath=input[not(@disabled)]").wait_for(state="attached")

    def is_started():
        if schedule_states(ui)["refresh_stale_shards"] != "RUNNING":
            # A click that comes before the page has asked what may be switched is lost.
            switch.click()
            page.wait_for_timeout(3000)
        return schedule_states(ui)["refresh_stale_shards"] == "RUNNING"

    ui.wait_for(is_started, "the schedule")
    name.click()
    page.get_by_text("Next tick").first.wait_for()
    screenshot("schedule")


def test_the_report_can_be_read(ui, page, screenshot):
    page.goto(f"file://{ui.project.storage.url('dataset/report/index.html')}")
    page.get_by_text("CLIPScore").first.wait_for()
    broken = "() => [...document.images].filter(image => image.complete && image.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    screenshot("report")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    screenshot("report-on-a-phone")
