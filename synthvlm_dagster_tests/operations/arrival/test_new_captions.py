"""Real looks of the sensor at real files; the run that it launches is tested with test_refresh and with the daemon."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import fsspec
import pytest

from synthvlm_dagster.operations.arrival import look
from synthvlm_dagster.operations.arrival.sensor import new_captions
from synthvlm_dagster.operations.refresh import refresh_dataset
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import CaptionSource, Recipe, load_recipe
from synthvlm_dagster.recipe.operations import Operations
from synthvlm_dagster.recipe.operations.arrival import NewCaptions
from synthvlm_dagster.store.storage import Storage

SETTLE = 60.0


class Looks:
    """The sensor as the daemon drives it: it keeps the cursor, and launches no run with a key that it has seen."""

    def __init__(self, recipe: Recipe, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recipe = recipe
        self.instance = instance
        self.cursor: str | None = None
        self.launched: dict[str, dg.RunRequest] = {}
        self.now = time.time()
        monkeypatch.setattr(look.time, "time", lambda: self.now)

    def look(self, seconds: float = 0, *, killed: bool = False) -> str:
        """What the next look says or launches, so many seconds later; the daemon may be killed before it notes it."""
        self.now += seconds
        dataset = Dataset(self.recipe)
        context = dg.build_sensor_context(self.instance, cursor=self.cursor)
        result = new_captions(dataset, refresh_dataset(dataset))(context)
        for request in result.run_requests or ():
            self.launched.setdefault(request.run_key, request)
        if not killed:
            self.cursor = result.cursor
        if result.skip_reason:
            return result.skip_reason.skip_message
        [request] = result.run_requests
        return request.run_config["ops"]["make_missing"]["config"]["reason"]

    def settle(self) -> str:
        """What is said or launched for files that have stopped changing."""
        self.look()
        return self.look(SETTLE + 1)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def make_looks(tmp_path, instance, monkeypatch) -> Callable[..., Looks]:
    def make(path: str, **settings: float) -> Looks:
        changed = {
            "storage": str(tmp_path / "store"),
            "sources": (CaptionSource(name="shop", path=path),),
            "operations": Operations(new_captions=NewCaptions(settle_seconds=SETTLE, **settings)),
        }
        return Looks(load_recipe("demo").model_copy(update=changed), instance, monkeypatch)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    (folder / "first.txt").write_text("A red house.\n")
    return folder


def test_a_file_is_read_when_it_has_stopped_growing_and_once(make_looks, folder):
    looks = make_looks(f"{folder}/*.txt")
    assert "first.txt" in looks.settle()
    assert len(looks.launched) == 1
    assert "no caption file is new or has changed, of 1" in looks.look(5)

    with (folder / "second.txt").open("w") as file:
        for _ in range(3):
            file.write("A blue house.\n")
            file.flush()
            assert looks.look(SETTLE + 1) == (
                "new: shop: second.txt. Waiting until they stay as they are, 60 s at least"
            )
        assert "31 s at least" in looks.look(29)
        file.write("A blue")
        file.flush()
        assert "60 s at least" in looks.look(32)
    assert looks.look(SETTLE + 1) == "caption files new: shop: second.txt"
    assert "no caption file" in looks.look(SETTLE + 1)
    assert len(looks.launched) == 2


def test_a_file_that_is_as_it_was_once_is_read_again(make_looks):
    """On an object store it then has the etag of that time."""
    place = f"memory://{uuid.uuid4().hex}"
    looks = make_looks(f"{place}/*.txt")
    versions = ["A red house.\n", "A blue house.\n", "A red house.\n"]
    for number, text in enumerate(versions, start=1):
        with fsspec.open(f"{place}/a.txt", "w") as file:
            file.write(text)
        looks.settle()
        assert len(looks.launched) == number
    assert {key.split("-")[1] for key in looks.launched} == {"0", "1", "2"}


@pytest.mark.parametrize("meanwhile", ["nothing", "another file"])
def test_a_launch_that_was_not_noted_is_not_repeated(make_looks, folder, meanwhile):
    looks = make_looks(f"{folder}/*.txt")
    looks.look()
    looks.look(SETTLE + 1, killed=True)
    [key] = looks.launched
    if meanwhile == "nothing":
        looks.look(5)
        assert [*looks.launched] == [key]
        assert "no caption file" in looks.look(5)
    else:
        (folder / "second.txt").write_text("A blue house.\n")
        looks.settle()
        assert len(looks.launched) == 2


def test_what_was_read_before_the_sensor_was_started_is_only_watched(make_looks, folder, instance):
    from synthvlm_dagster.captions.made_from import source_version

    looks = make_looks(f"{folder}/*.txt")
    metadata = {"source_version": source_version(looks.recipe.sources)}
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_captions", metadata=metadata))
    assert "have been read before" in looks.settle()
    (folder / "second.txt").write_text("A blue house.\n")
    assert looks.settle() == "caption files new: shop: second.txt"


def test_a_file_that_is_gone_is_mentioned_and_launches_nothing(make_looks, folder):
    (folder / "second.txt").write_text("A blue house.\n")
    looks = make_looks(f"{folder}/*.txt")
    looks.settle()
    (folder / "second.txt").unlink()
    assert looks.settle().startswith("gone: shop: second.txt. That removes nothing")
    (folder / "first.txt").write_text("A green house.\n")
    assert looks.settle() == "caption files changed: shop: first.txt; gone: shop: second.txt"


def test_after_a_failed_run_every_change_counts(make_looks, folder, instance):
    (folder / "broken.txt").write_text("A blue house.\n")
    looks = make_looks(f"{folder}/*.txt")
    looks.settle()
    [key] = looks.launched
    record_failed_run(instance, key)
    assert "since run" in looks.look(5)
    (folder / "broken.txt").unlink()
    assert looks.settle() == "caption files gone: shop: broken.txt"
    assert len(looks.launched) == 2


def test_while_a_run_waits_in_the_queue_no_other_is_launched(make_looks, folder, instance):
    looks = make_looks(f"{folder}/*.txt")
    waiting = create_run(instance, {}, dg.DagsterRunStatus.STARTING)
    assert f"Run {waiting.run_id} has to be started first" in looks.settle()
    instance.report_run_canceled(waiting)
    assert looks.look(5) == "caption files new: shop: first.txt"


def test_what_is_no_caption_file_launches_nothing(make_looks, folder):
    (folder / "pointer.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n")
    looks = make_looks(f"{folder}/*.txt")
    assert "pointer.txt: it is a pointer of Git LFS" in looks.settle()
    assert "pointer of Git LFS" in looks.look(100)
    (folder / "pointer.txt").write_text("A blue house.\n")
    assert "pointer.txt" in looks.settle()
    assert len(looks.launched) == 1


def test_a_source_that_cannot_be_reached_is_named(make_looks):
    looks = make_looks("http://127.0.0.1:9/captions.csv")
    looks.cursor = before = looks.look() and looks.cursor
    reason = looks.look(5)
    assert "nothing is launched: source shop" in reason
    assert "127.0.0.1:9" in reason
    assert looks.cursor == before


def test_a_folder_that_is_gone_or_empty_is_named(make_looks, tmp_path):
    assert "no file matches" in make_looks(f"{tmp_path}/nowhere/*.txt").look()


def test_a_store_that_does_not_answer_is_left_to_itself(make_looks, folder, monkeypatch):
    import threading

    answer = threading.Event()
    real = look.look_at_files

    def hang(sources: tuple[CaptionSource, ...]) -> dict[str, str]:
        answer.wait(30)
        return real(sources)

    looks = make_looks(f"{folder}/*.txt", answer_seconds=0.05)
    monkeypatch.setattr(look, "look_at_files", hang)
    try:
        assert "no answer within 0.05 s" in looks.look()
        assert "an earlier look has still got no answer" in looks.look()
    finally:
        answer.set()
    look._caller._hanging.join(30)
    monkeypatch.setattr(look, "look_at_files", real)
    looks.recipe = looks.recipe.model_copy(update={"operations": Operations()})
    assert "Waiting until they stay" in looks.look()


def test_a_store_that_cannot_be_reached_launches_nothing_and_loses_nothing(make_looks, folder, monkeypatch):
    looks = make_looks(f"{folder}/*.txt")
    looks.look()
    for method in ("has_table", "write_table"):
        with monkeypatch.context() as broken:
            broken.setattr(Storage, method, lambda *_: (_ for _ in ()).throw(TimeoutError("s3://k:s3cr3t@bucket")))
            assert looks.look(SETTLE) == "nothing is launched: TimeoutError: s3://***@bucket"
    assert looks.launched == {}
    assert "first.txt" in looks.look(5)
    assert len(looks.launched) == 1


def test_a_cursor_of_something_else_is_an_empty_one(make_looks, folder):
    looks = make_looks(f"{folder}/*.txt")
    looks.cursor = "yesterday"
    assert "first.txt" in looks.settle()


def test_a_change_that_keeps_size_and_name_is_seen(make_looks, folder):
    looks = make_looks(f"{folder}/*.txt")
    looks.settle()
    (folder / "first.txt").write_text("A tan house.\n")
    os.utime(folder / "first.txt", (1, 1))
    assert "changed: shop: first.txt" in looks.look()


def create_run(
    instance: dg.DagsterInstance, tags: dict[str, str], status: dg.DagsterRunStatus | None = None
) -> dg.DagsterRun:
    return instance.create_run_for_job(refresh_dataset(Dataset(load_recipe("demo"))), tags=tags, status=status)


def record_failed_run(instance: dg.DagsterInstance, run_key: str) -> None:
    instance.report_run_failed(create_run(instance, {"dagster/run_key": run_key}))
