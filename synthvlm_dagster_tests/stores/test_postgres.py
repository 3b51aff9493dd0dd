"""Dagster's daemon with deploy/postgres/dagster.yaml on a real server."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from synthvlm_dagster_tests.stores.postgres_server import PASSWORD

CHECKOUT = Path(__file__).parents[2]
SETTINGS = CHECKOUT / "deploy" / "postgres" / "dagster.yaml"

pytestmark = pytest.mark.skipif(not SETTINGS.is_file(), reason="needs a checkout")


@pytest.fixture
def environment(postgres, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "marks").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_bytes(SETTINGS.read_bytes())
    return (
        os.environ | postgres.environment | {"DAGSTER_HOME": str(tmp_path / "home"), "MARKS": str(tmp_path / "marks")}
    )


def test_all_but_the_database_is_as_on_sqlite():
    ours, default = (yaml.safe_load(file.read_text()) for file in (SETTINGS, CHECKOUT / "dagster.yaml"))
    del ours["storage"]
    assert ours == default


def test_the_daemon_goes_on_after_the_server_was_restarted(postgres, environment, tmp_path):
    def until(statement, wanted):
        deadline = time.monotonic() + 120
        while (found := postgres.query(statement).split()) != wanted:
            assert daemon.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline, f"{found} instead of {wanted}\n{(tmp_path / 'said').read_text()}"
            time.sleep(0.5)

    (tmp_path / "marks" / "a").touch()
    command = [sys.executable, "-m", "dagster._daemon", "run", "-f", str(Path(__file__).parent / "ticking.py")]
    with (tmp_path / "said").open("w") as said:
        daemon = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while "runs" not in postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").split():
                assert time.monotonic() < deadline, (tmp_path / "said").read_text()
                time.sleep(0.5)
            until("SELECT status FROM runs", ["SUCCESS"])
            commands = subprocess.run(["ps", "-eww", "-o", "args"], text=True, capture_output=True, check=True).stdout
            assert "ticking.py" in commands
            assert PASSWORD not in commands
            postgres.stop()
            postgres.start()
            (tmp_path / "marks" / "b").touch()
            until("SELECT status FROM runs", ["SUCCESS", "SUCCESS"])
        finally:
            daemon.terminate()
            daemon.wait(60)
    ticks = postgres.query("SELECT DISTINCT status FROM job_ticks WHERE tick_body LIKE '%marks%'").split()
    assert "SUCCESS" in ticks
    instigators = postgres.query("SELECT instigator_body FROM instigators")
    assert '"cursor": "b"' in instigators
    assert "minutes" in instigators, "the schedule's state is there too"
    assert PASSWORD not in (tmp_path / "said").read_text()
