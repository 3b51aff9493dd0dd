"""A history of a project: edits and runs, each run held to the law of the product."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from synthvlm_dagster_tests.law.edits import Edit
from synthvlm_dagster_tests.law.project import Project, Ran, run, unsynced, work_left
from synthvlm_dagster_tests.law.stores import Contents, contents, differences

EXPLORES = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
"""Whether there is time: what stands in the suite is one short history, and a few at random."""


class LawBrokenError(AssertionError):
    """After these edits a run left another store than a fresh one, or something to do."""


class History:
    """What happened to a project so far.

    The law: after any edits, a run leaves the tables, exports, card and report that a run into an empty store would
    make of the recipe and files as they are now; fails where that one fails; and leaves a second run nothing to do.

    Attributes:
        project: as it is now.
        runs: how many were held to the law.
        fresh: how many runs into an empty store it took; equal recipes over equal files share one.
        failing: of the runs, those that failed as they had to.
    """

    _fresh: dict[str, tuple[Ran, Contents]]

    def __init__(self, folder: Path, fresh: dict[str, tuple[Ran, Contents]] | None = None) -> None:
        """
        Args:
            folder: an empty one.
            fresh: what runs into an empty store have left, by `World.key`; filled.
        """
        self.project = Project(folder)
        self._folder = folder
        self._fresh = {} if fresh is None else fresh
        self._told: list[str] = []
        self.runs = self.fresh = self.failing = 0

    def happen(self, edits: Iterable[Edit]) -> None:
        """Apply edits; one that cannot be, as the recipe is now, is left out."""
        for edit in edits:
            try:
                edit.apply(self.project)
            except ValidationError:
                continue
            self._told.append(str(edit))

    def run(self) -> Ran:
        """Run, and hold what it leaves to the law.

        Raises:
            LawBrokenError: says after which edits, and what is wrong.
        """
        expected_run, expected = self._fresh_run()
        ran = self.project.run()
        self._told.append(f"run ({'nothing to do' if not ran.launched else f'{len(ran.launched)} launched'})")
        self.runs += 1
        if ran.succeeded != expected_run.succeeded:
            outcome = {True: "succeeds", False: "fails"}
            self._refuse(
                f"the run {outcome[ran.succeeded]}, and one into an empty store {outcome[expected_run.succeeded]}",
                [*ran.launched, "into an empty store:", *expected_run.launched],
            )
        if not ran.succeeded:
            self.failing += 1
            return ran
        recipe, instance = self.project.recipe, self.project.instance
        if found := differences(expected, contents(recipe)):
            self._refuse(
                "the run left another store than one into an empty store", [*found, "launched:", *ran.launched]
            )
        if left := work_left(recipe, instance):
            self._refuse("the plan has work left after the run", [f"{name}: {why}" for name, why in left.items()])
        if marked := unsynced(recipe, instance):
            self._refuse("Dagster calls out of date what is not", [f"{name}: {why}" for name, why in marked.items()])
        if (again := self.project.run()).launched:
            self._refuse("a second run has something to do", list(again.launched))
        return ran

    def _fresh_run(self) -> tuple[Ran, Contents]:
        key = self.project.world.key
        if key not in self._fresh:
            folder = self._folder / "fresh"
            recipe = self.project.world.validated(folder)
            with dg.DagsterInstance.ephemeral() as instance:
                ran = run(recipe, instance)
            self._fresh[key] = ran, contents(recipe) if ran.succeeded else {}
            self.fresh += 1
            shutil.rmtree(folder, ignore_errors=True)
        return self._fresh[key]

    def _refuse(self, what: str, details: list[str]) -> None:
        happened = "\n".join(f"  {number}. {line}" for number, line in enumerate(self._told, 1))
        listed = "\n".join(f"  - {line}" for line in details)
        raise LawBrokenError(f"after\n{happened}\n{what}:\n{listed}")
