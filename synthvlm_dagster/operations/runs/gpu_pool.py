"""How many runs may use a GPU at the same time: one per device of this machine."""

from __future__ import annotations

import dagster as dg

GPU_POOL = "gpu"


def count_gpus() -> int:
    """CUDA devices that this process may use; 0 without any. CUDA_VISIBLE_DEVICES counts."""
    import torch

    return torch.cuda.device_count()


def set_pool_limit(instance: dg.DagsterInstance, limit: int) -> None:
    """Let as many runs of the pool `gpu` run at the same time; stays with the instance, and counts at once."""
    instance.event_log_storage.set_concurrency_slots(GPU_POOL, limit)


def ensure_pool(instance: dg.DagsterInstance) -> None:
    """Give the pool `gpu` the default limit of dagster.yaml, if it has none yet.

    Dagster does so when it first sees the pool, but lets pass what it launches in that moment: of several runs that
    wait when the daemon of a new instance begins, all would start together.
    """
    # Dagster's own method would put the default in place of a limit that a person has set.
    if GPU_POOL not in {pool.name for pool in instance.event_log_storage.get_pool_limits()}:
        instance.event_log_storage.initialize_concurrency_limit_to_default(GPU_POOL)


def most_runs(instance: dg.DagsterInstance) -> int | None:
    """How many runs the instance lets run at the same time, whatever they use; None where it does not say."""
    queue = instance.get_concurrency_config().run_queue_config
    return queue.max_concurrent_runs if queue and queue.max_concurrent_runs >= 0 else None
