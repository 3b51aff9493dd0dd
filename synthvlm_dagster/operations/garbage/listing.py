"""What the terminal shows of garbage: what it is, how much, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.filesize import decimal

from synthvlm_dagster.operations.garbage.find import Garbage
from synthvlm_dagster.operations.garbage.references import References
from synthvlm_dagster.recipe import Recipe

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_LINES = 200


def seconds_of_age(text: str) -> float | None:
    """Seconds of an age such as `90m`, `24h` or `7d`; None where it is no such thing."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    return float(found[1]) * _SECONDS[found[2]] if found else None


def print_looked_at(
    url: str, recipes: Sequence[Recipe], references: References, console: Console, plan_unknown: str | None = None
) -> None:
    """Say which store and recipes were looked at, and what follows from the selected pairs and the plan.

    Args:
        url: of the store.
        recipes: that store there.
        references: what must stay.
        console: to print to.
        plan_unknown: why no image can be called unplanned; see `why_plan_is_unknown`.
    """
    rows = [
        ("storage", url),
        ("recipes", ", ".join(recipe.name for recipe in recipes)),
        ("", "another recipe that stores here is not known of: name it too, with one more --recipe"),
    ]
    if references.whole:
        rows.append(("kept", f"all of {', '.join(sorted(references.whole))}: the selected pairs are from there"))
    if references.unknown_pairs:
        rows.append(("kept", "every generator: nothing says which one the selected pairs are from. Select them again"))
    if references.measurements is None:
        rows.append(("kept", "all captions' measurements: a model of the recipes is not there, so they have no name"))
    if plan_unknown:
        rows.append(("kept", f"every image of these recipes, as the plan is not theirs ({plan_unknown}): run first"))
    for name, value in rows:
        console.print(f"  {name:<12}", end="")
        console.print(value, markup=False)
    console.print()


def print_garbage(garbage: Sequence[Garbage], console: Console) -> None:
    """By reason, one line for each thing: size, files, last change, path."""
    shown = garbage[:_MOST_LINES]
    for reason in dict.fromkeys(thing.reason for thing in shown):
        console.print(f"  [bold]{reason}[/]")
        for thing in shown:
            if thing.reason == reason:
                console.print(_line(thing), markup=False)
    if len(garbage) > len(shown):
        console.print(f"  … and {len(garbage) - len(shown):,} more")


def _line(thing: Garbage) -> str:
    written = "unknown" if thing.modified is None else f"{datetime.fromtimestamp(thing.modified):%Y-%m-%d %H:%M}"
    files = f"{len(thing.files):,} file{' ' if len(thing.files) == 1 else 's'}"
    return f"    {decimal(thing.bytes):>9}  {files:>12}  last written {written:<16}  {thing.path}"


def amount(garbage: Sequence[Garbage]) -> str:
    """For example `3 things, 40 files, 12.3 MB`."""
    files = sum(len(thing.files) for thing in garbage)
    things = f"{len(garbage):,} thing{'' if len(garbage) == 1 else 's'}"
    return f"{things}, {files:,} file{'' if files == 1 else 's'}, {decimal(sum(thing.bytes for thing in garbage))}"
