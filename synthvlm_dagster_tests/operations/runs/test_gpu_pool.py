import dagster as dg
import pytest
from click.testing import CliRunner

from synthvlm_dagster.cli import main
from synthvlm_dagster.operations.runs import gpu_pool


@pytest.fixture
def type_gpus(tmp_path, monkeypatch):
    """Types `synthvlm gpus` on a machine with some GPUs; returns what it said and the limit of the instance."""

    def type_command(devices, *options):
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(gpu_pool, "count_gpus", lambda: devices)
        outcome = CliRunner().invoke(main, ["gpus", *options], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
            [limit] = [pool.limit for pool in instance.event_log_storage.get_pool_limits() if pool.name == "gpu"]
        return outcome.output, limit

    return type_command


def test_as_many_runs_as_gpus(type_gpus):
    output, limit = type_gpus(8)
    assert limit == 8
    assert "8 CUDA devices" in output
    assert "note" not in output
    assert type_gpus(2)[1] == 2


def test_without_a_gpu_one_run(type_gpus):
    output, limit = type_gpus(0)
    assert limit == 1
    assert "no CUDA device" in output
    assert "1 run at a time" in output


def test_a_limit_that_is_said(type_gpus):
    output, limit = type_gpus(8, "--limit", "20")
    assert limit == 20
    assert "lets 16 runs" in output


def test_a_limit_of_none_is_refused(type_gpus, tmp_path):
    outcome = CliRunner().invoke(main, ["gpus", "--limit", "0"])
    assert outcome.exit_code == 2
