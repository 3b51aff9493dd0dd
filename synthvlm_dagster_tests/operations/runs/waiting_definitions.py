"""A code location whose runs take a GPU out of two that are only names, and wait until they are let go."""

import os
import time
from pathlib import Path

import dagster as dg

from synthvlm_dagster.models.gpu_leases import take_lease
from synthvlm_dagster.operations.runs.executor import watched_in_process_executor
from synthvlm_dagster.operations.runs.sensors import dead_runs, lost_retries
from synthvlm_dagster.orchestration.dataset import Dataset
from synthvlm_dagster.recipe import load_recipe

DATASET = Dataset(load_recipe("demo"))
GPUS = ("gpu-one", "gpu-two")
DONE = "done"
"""A file beside the Dagster home that lets all runs end."""


@dg.op(pool="gpu")
def wait_with_gpu(context: dg.OpExecutionContext) -> None:
    """Writes the name of its GPU into a file with the run's name."""
    folder = Path(os.environ["DAGSTER_HOME"]).parent
    lease = take_lease(GPUS, folder / "locks", context.log.warning)
    (folder / context.run_id).write_text(lease.name)
    while not (folder / DONE).exists():
        time.sleep(0.05)
    lease.release()


@dg.job(executor_def=watched_in_process_executor)
def waiting() -> None:
    """One run with a GPU."""
    wait_with_gpu()


defs = dg.Definitions(jobs=[waiting], sensors=[dead_runs(DATASET), lost_retries(DATASET)])
