"""The law of the product, as a property: what stands is what the recipe says, whatever happened before."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from synthvlm_dagster_tests.law.edits import KINDS, Edit
from synthvlm_dagster_tests.law.history import EXPLORES, History

EDITS: st.SearchStrategy[Edit] = st.one_of(*(st.sampled_from(tuple(kind())) for kind in KINDS))


@pytest.mark.hypothesis
def test_a_run_leaves_what_a_fresh_run_would_make_after_any_edits(begin_history: Callable[[], History]):
    counts = {"histories": 0, "runs": 0, "fresh runs": 0, "failing runs": 0}

    class Law(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            counts["histories"] += 1
            self.history = begin_history()
            self.history.run()

        @rule(edits=st.lists(EDITS, min_size=1, max_size=4))
        def edit_and_run(self, edits: list[Edit]) -> None:
            self.history.happen(edits)
            self.history.run()

        def teardown(self) -> None:
            for name, count in (("runs", "runs"), ("fresh runs", "fresh"), ("failing runs", "failing")):
                counts[name] += getattr(self.history, count)
            self.history.project.close()

    # So few in the suite, because each run is compared with one into an empty store.
    size = (
        {"max_examples": 100, "stateful_step_count": 8} if EXPLORES else {"max_examples": 3, "stateful_step_count": 3}
    )
    run_state_machine_as_test(Law, settings=settings(settings(), suppress_health_check=list(HealthCheck), **size))
    assert counts["failing runs"] < counts["runs"] / 3, "edits that let most runs fail test little"
    sys.stdout.write(f"{counts}\n")
