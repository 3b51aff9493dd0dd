"""The executor of every run: all steps in the run's own process, which says who it is and watches its run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

from synthvlm_dagster.operations.runs.tags import worker_tag
from synthvlm_dagster.operations.runs.watch import watched


class WatchedExecutor(dg.Executor):
    """Another executor, whose runs carry the tag of their process, which ends when they are ended elsewhere.

    Args:
        executor: executes the steps in the process that calls it.
    """

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> RetryMode:
        """As the other executor has it."""
        return self._executor.retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute the steps, and yield their events."""
        # PyTorch's idle CPU threads spin by default: beside any other busy process, on two cores, generation took five
        # times as long. Read when PyTorch loads, so it must stand before the first step.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        run_id = plan_context.run_id
        plan_context.instance.add_run_tags(run_id, worker_tag(run_id))
        with watched(plan_context.instance, run_id):
            yield from self._executor.execute(plan_context, execution_plan)


@dg.executor(  # type: ignore[call-overload]  # its stub refuses the schema of another executor
    name="in_process", config_schema=dg.in_process_executor.config_schema
)
def watched_in_process_executor(context: dg.InitExecutorContext) -> WatchedExecutor:
    """One process per run: a step in a child process would outlive its killed run and keep the GPU busy."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return WatchedExecutor(create(context))
