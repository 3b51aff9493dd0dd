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


def most_runs(instance: dg.DagsterInstance) -> int | None:
    """How many runs the instance lets run at the same time, whatever they use; None where it does not say."""
    queue = instance.get_concurrency_config().run_queue_config
    return queue.max_concurrent_runs if queue and queue.max_concurrent_runs >= 0 else None
