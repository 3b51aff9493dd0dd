"""The sensor on a real instance: when it has a shard repaired, when it waits, and when it asks for a person."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.asset_backfill import AssetBackfillData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from synthvlm_dagster.images.assets import generated_images
from synthvlm_dagster.operations.notifications.webhook import WEBHOOK_VARIABLE
from synthvlm_dagster.operations.repair.history import AUTOMATIC_TAG, shards_to_repair
from synthvlm_dagster.operations.repair.job import repair_shards
from synthvlm_dagster.operations.repair.sensor import repair_failed_shards
from synthvlm_dagster.recipe.operations import Operations
from synthvlm_dagster.recipe.operations.repair import Repair
from synthvlm_dagster_tests.operations.repair.conftest import SHARDS, Operated, named

FIRST, LAST = SHARDS[0], SHARDS[-1]
BAD = [SHARDS[1], SHARDS[3]]


def with_settings(operated: Operated, **settings: float) -> None:
    operations = Operations(repair=Repair(**settings))
    operated.recipe = operated.recipe.model_copy(update={"operations": operations})


def evaluate(operated: Operated, cursor: str | None = None) -> dg.SensorResult:
    repository = operated.definitions.get_repository_def()
    with dg.build_sensor_context(instance=operated.instance, repository_def=repository, cursor=cursor) as context:
        result = sensor_of(operated)(context)
    assert isinstance(result, dg.SensorResult)
    return result


def sensor_of(operated: Operated) -> dg.SensorDefinition:
    return repair_failed_shards(operated.dataset, repair_shards(operated.dataset))


def requested(result: dg.SensorResult) -> dg.RunRequest:
    assert result.run_requests, result.skip_reason
    [request] = result.run_requests
    return request


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def launch(operated: Operated, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """What the daemon does with a request."""
    return operated.repair(
        {"shards": shards_to_repair(operated.dataset, request.run_config)},
        {**request.tags, "dagster/run_key": request.run_key or ""},
    )


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """Messages that a webhook got."""
    messages: list[dict[str, str]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(WEBHOOK_VARIABLE, f"http://127.0.0.1:{server.server_port}/hook")
        yield messages
        server.shutdown()


def test_it_is_off_by_default_and_asks_for_nothing_when_nothing_failed(operated):
    assert sensor_of(operated).default_status is dg.DefaultSensorStatus.STOPPED
    assert "no shard" in reason(evaluate(operated))
    operated.make(generated_images, FIRST, LAST)
    assert "no shard" in reason(evaluate(operated))


def test_failed_shards_are_repaired_after_a_pause_in_one_run(operated, posted):
    unblock = operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    with_settings(operated, first_pause_minutes=5)
    assert all(f"shard {shard} is repaired after" in reason(evaluate(operated)) for shard in BAD)

    with_settings(operated, first_pause_minutes=0)
    first, second = requested(evaluate(operated)), requested(evaluate(operated))
    assert first.run_key == second.run_key, "the same question, asked again by a restarted daemon"
    assert shards_to_repair(operated.dataset, first.run_config) == BAD
    unblock()
    assert launch(operated, first).success
    assert named(operated.states(generated_images), "MATERIALIZED") == SHARDS
    assert "no shard" in reason(evaluate(operated))
    assert posted == []


def test_a_shard_that_never_heals_is_left_to_a_person_who_is_told_once(operated, posted):
    unblock = operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    with_settings(operated, max_attempts=2, first_pause_minutes=0)
    keys = []
    for _ in range(2):
        request = requested(evaluate(operated))
        keys.append(request.run_key)
        assert not launch(operated, request).success
    assert len(set(keys)) == 2

    told = evaluate(operated)
    assert "left to a person: 0001, 0003" in reason(told)
    [message] = posted
    assert message["title"] == "2 shards could not be repaired: 0001, 0003"
    assert "0001 (generated_images, image_scores): " in message["text"]
    assert "repaired 2 times in vain" in message["text"]
    cursor = evaluate(operated, told.cursor).cursor
    assert len(posted) == 1
    with_settings(operated, max_attempts=3, first_pause_minutes=60, pause_factor=3)
    assert "is repaired after" in reason(evaluate(operated, cursor))

    # A person mends it; when it fails another time, it gets its attempts anew, and a person is told anew.
    unblock()
    assert operated.repair().success
    with_settings(operated, max_attempts=1, first_pause_minutes=0)
    cursor = evaluate(operated, cursor).cursor
    operated.block(BAD[0])
    assert not operated.make(generated_images, BAD[0], BAD[0]).success
    assert not launch(operated, requested(evaluate(operated, cursor))).success
    assert "left to a person: 0001" in reason(evaluate(operated, cursor))
    assert len(posted) == 2


def test_a_repair_whose_process_died_counts_once_and_says_so(operated, posted):
    operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    with_settings(operated, max_attempts=1, first_pause_minutes=0)
    request = requested(evaluate(operated))
    job = operated.definitions.resolve_job_def("repair_shards")
    for parent in (None, "first"):
        run = operated.instance.create_run_for_job(
            job, run_config=request.run_config, tags=dict(request.tags), parent_run_id=parent, root_run_id=parent
        )
        assert "not ended" in reason(evaluate(operated)), "one that waits in the queue is not overtaken"
        operated.instance.report_run_failed(run, "The process of this run was killed.")
    assert "left to a person" in reason(evaluate(operated))
    [message] = posted
    assert message["title"].startswith("2 shards could not be repaired")
    assert "0001 (generated_images): " in message["text"]


def test_shards_that_a_run_still_has_to_make_are_left_to_it(operated):
    operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    with_settings(operated, first_pause_minutes=0)
    running = operated.instance.create_run_for_job(
        operated.definitions.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={operated.key(generated_images)}
        ),
        tags={"dagster/partition": BAD[0]},
        asset_selection={operated.key(generated_images)},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert shards_to_repair(operated.dataset, requested(evaluate(operated)).run_config) == BAD[1:]
    operated.instance.report_run_failed(running, "The process of this run was killed.")
    assert shards_to_repair(operated.dataset, requested(evaluate(operated)).run_config) == BAD


def test_shards_that_a_backfill_still_has_to_make_are_left_to_it(operated):
    operated.block(*BAD)
    operated.make(generated_images, FIRST, LAST)
    with_settings(operated, first_pause_minutes=0)
    target = AssetGraphSubset(
        {operated.key(generated_images): operated.dataset.shards.subset_with_partition_keys(BAD[:1])}
    )
    backfill = PartitionBackfill(
        "somebodys",
        BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=1.0,
        asset_selection=[operated.key(generated_images)],
        asset_backfill_data=AssetBackfillData.empty(target, 1.0, dynamic_partitions_store=operated.instance),
    )
    operated.instance.add_backfill(backfill)
    assert shards_to_repair(operated.dataset, requested(evaluate(operated)).run_config) == BAD[1:]
    operated.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_FAILED))
    request = requested(evaluate(operated))
    assert shards_to_repair(operated.dataset, request.run_config) == BAD
    assert request.tags == {AUTOMATIC_TAG: "true"}
