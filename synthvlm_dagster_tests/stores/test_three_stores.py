"""The same recipe on SQLite and disk, and on PostgreSQL and S3, and after PostgreSQL was lost in the middle."""

import importlib
import io
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.stores.postgres_server import PASSWORD
from synthvlm_dagster_tests.stores.s3_server import BUCKET, SECRET, Fault

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are in the repository alone"),
]


@pytest.fixture(scope="module")
def stores() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("stores")


@pytest.fixture(scope="module")
def undisturbed(stores, tmp_path_factory):
    """The small recipe on SQLite and a disk."""
    store = stores.Store("sqlite+disk", stores.SQLITE, "", {})
    return stores.run_on(store, tmp_path_factory.mktemp("sqlite") / "run", small=True)


def test_postgres_and_s3_give_the_same_pairs_and_keep_their_secrets(
    stores, undisturbed, postgres, running_s3, tmp_path, s3
):
    *_, store = stores.three_stores(postgres, running_s3)
    s3.faults += [
        Fault("500", "GET", "/images/", times=2),
        Fault("cut", "GET", "/selected/", times=1),
        Fault("503", "GET", "/plans/", times=1),
        Fault("lost", "PUT", "/scores/", times=1),
        Fault("503", "PUT", "/images/", times=1),
        Fault("500", "PUT", "dataset.webdataset", times=1),
    ]
    outcome = stores.run_on(store, tmp_path / "run", small=True)
    assert all(fault.happened == fault.times for fault in s3.faults)
    assert stores.are_equal({"sqlite+disk": undisturbed, "postgres+s3": outcome})
    assert not stores.are_equal({"sqlite+disk": undisturbed, "postgres+s3": stores.Outcome(1.0, 5, "another")})
    assert "| postgres+s3 |" in stores.table({"postgres+s3": outcome})

    statuses = postgres.query("SELECT DISTINCT status FROM runs").split()
    assert statuses == ["SUCCESS"]
    assert int(postgres.query("SELECT count(*) FROM event_logs WHERE asset_key LIKE '%quality_report%'")) > 0
    assert not list((tmp_path / "run").rglob("*.parquet")), "a table on the disk"

    storage = Storage(f"s3://{BUCKET}")
    paths = storage.files("")
    for name in ("captions/mine.csv", "report/index.html", "synthvlm.json", "00000.tar", "README.md", "selected/table"):
        assert any(name in path for path in paths), name
    places = {f"s3://{BUCKET}/{path}": _plain(path, storage.read_bytes(path)) for path in paths}
    places |= {str(file): file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    dumped = postgres.type("pg_dump", "--inserts", **postgres.environment)
    assert "quality_report" in dumped
    places["the event log"] = dumped.encode()
    for secret in (SECRET, PASSWORD):
        assert [place for place, content in places.items() if secret.encode() in content] == []


def test_a_database_lost_in_the_middle_costs_no_image(stores, undisturbed, postgres, tmp_path):
    postgres.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    store = stores.Store("postgres+disk", stores.POSTGRES, "", postgres.environment)
    folder = tmp_path / "run"
    variables = stores.prepare(store, folder, small=True)
    command = [sys.executable, "-m", "synthvlm_dagster.cli", "run"]
    storage = Storage(str(folder / "tables" / "small"))

    with subprocess.Popen(
        command,
        cwd=folder,
        env=stores.bare_environment() | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as running:
        try:
            deadline = time.monotonic() + 240
            while not storage.files("images"):
                assert running.poll() is None, "ended before the database was lost"
                assert time.monotonic() < deadline, "no image within four minutes"
                time.sleep(0.01)
            postgres.stop()
            said, _ = running.communicate(timeout=240)
        finally:
            running.kill()
    assert running.returncode == 2, said
    assert "InstanceError" in said
    assert f"Dagster's database, named in {variables['DAGSTER_HOME']}/dagster.yaml, cannot be used: " in said
    assert "Run again" in said
    assert "Traceback" not in said.partition("InstanceError")[2]
    assert PASSWORD not in said
    made = {path: Path(storage.url(path)).stat().st_mtime_ns for path in storage.files("images")}
    assert made

    postgres.start()
    again = subprocess.run(
        command,
        cwd=folder,
        env=stores.bare_environment() | variables,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: Path(storage.url(path)).stat().st_mtime_ns for path in made} == made
    ids = storage.scan("images").select("image_id").collect()["image_id"]
    assert ids.n_unique() == ids.len() == stores.SMALL_CAPTIONS
    with stores.in_environment(variables):
        assert stores.selected_pairs() == (undisturbed.pairs, undisturbed.digest)
    assert set(postgres.query("SELECT DISTINCT status FROM runs").split()) <= {"SUCCESS", "FAILURE"}


def _plain(path: str, content: bytes) -> bytes:
    """The bytes of a file; of a table as it is without compression."""
    if not path.endswith(".parquet"):
        return content
    stream = io.BytesIO()
    pl.read_parquet(content).write_ipc(stream, compression="uncompressed")
    return stream.getvalue()
