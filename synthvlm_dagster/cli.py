"""The `synthvlm` command: init, check, plan, run, gc, gpus."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from synthvlm_dagster.errors import SynthVLMError
from synthvlm_dagster.operations.home import PROJECT_FILES, lay_out_dagster_home, project_file, set_dagster_home
from synthvlm_dagster.recipe import RECIPE_FILE, RECIPES_FOLDER, load_recipe, packaged_recipes
from synthvlm_dagster.recipe.active import RECIPE_VARIABLE, active_recipe, active_recipe_name

if TYPE_CHECKING:
    from synthvlm_dagster.operations.run import Pipeline
    from synthvlm_dagster.recipe import Recipe
    from synthvlm_dagster.store.storage import Storage

console = Console(highlight=False, soft_wrap=True)

DEFAULT_RECIPE = f"${RECIPE_VARIABLE}, or {RECIPE_FILE} in this folder, or demo"

recipe_option = click.option(
    "--recipe",
    "-r",
    default=active_recipe_name,
    show_default=DEFAULT_RECIPE,
    help="Recipe file, or the name of a packaged one.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="synthvlm_dagster")
def main() -> None:
    """Curate captions, synthesize their images, keep the pairs that match best."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--from", "template", default="start", show_default=True, help="Packaged recipe to start from.")
def init(folder: Path, template: str) -> None:
    """Write a commented recipe.yaml to start from, and the Dagster settings beside it.

    Files that exist are left as they are.
    """
    with plain_errors():
        if template not in packaged_recipes():
            raise click.UsageError(f"no packaged recipe {template!r}; there are: {', '.join(packaged_recipes())}")
        folder.mkdir(parents=True, exist_ok=True)
        sources = {RECIPE_FILE: RECIPES_FOLDER / f"{template}.yaml"}
        sources |= {name: project_file(name) for name in PROJECT_FILES}
        for name, source in sources.items():
            target = folder / name
            if target.exists():
                console.print(f"kept     {target} (it exists)", markup=False)
            else:
                shutil.copyfile(source, target)
                console.print(f"written  {target}", markup=False)
        change_folder = "" if folder.resolve() == Path.cwd() else f"  cd {folder}\n"
        console.print(
            f"\nEdit {folder / RECIPE_FILE}, then:\n{change_folder}  synthvlm check\n  synthvlm run",
            markup=False,
        )


@main.command()
@recipe_option
def check(recipe: str) -> None:
    """Validate a recipe and everything it names: caption files, models, storage."""
    with plain_errors():
        chosen = use_recipe(recipe)
        from synthvlm_dagster.operations.preflight import check_recipe

        findings = check_recipe(chosen)
        for finding in findings:
            style, mark = {"ok": ("green", "ok"), "unknown": ("yellow", "?"), "error": ("red", "error")}[finding.state]
            console.print(f"[{style}]{mark:<6}[/] {finding.subject:<24} ", end="")
            console.print(finding.message.removeprefix(f"{finding.subject}: "), markup=False)
        if any(finding.state == "error" for finding in findings):
            raise SystemExit(1)


@main.command()
@recipe_option
def plan(recipe: str) -> None:
    """Show what would be made: captions, images, missing shards. Makes nothing."""
    with plain_errors():
        chosen = use_recipe(recipe)
        from synthvlm_dagster.operations.overview import print_plan

        with open_pipeline(chosen) as pipeline:
            print_plan(pipeline, console)


@main.command()
@recipe_option
@click.option("--select", "selection", default=None, help="Only these assets, in Dagster's selection syntax.")
@click.option("--shards", default=None, metavar="KEYS", help="Only these shards, e.g. 0000,0003 or 0000-0003.")
def run(recipe: str, selection: str | None, shards: str | None) -> None:
    """Make everything that is missing or outdated, in order, in this terminal.

    Every step is a Dagster run in the project's instance: `dagster dev` shows it with its metadata. A run that was
    killed goes on where it stopped.
    """
    with plain_errors():
        chosen = use_recipe(recipe)
        from synthvlm_dagster.operations.overview import print_causes, print_results, print_step
        from synthvlm_dagster.operations.terminal_lock import terminal_lock
        from synthvlm_dagster.progress import keep_terminal

        with (
            keep_terminal(),
            open_pipeline(chosen) as pipeline,
            terminal_lock(set_dagster_home(), pipeline.instance),
        ):
            selected = pipeline.resolve_selection(selection) if selection else set(pipeline.asset_keys())
            keys = parse_shards(shards, chosen.shard_keys) if shards else None
            outcome = pipeline.run_missing(selected, keys, {}, lambda step: print_step(step, console))
            print_results(pipeline, console)
            for sentence in outcome.deleted:
                console.print(sentence, markup=False)
            failed = ", ".join(outcome.failed_shards)
            if not outcome.succeeded:
                named = f" Failed shards: {failed}." if failed else ""
                console.print(
                    f"\n[red]A run failed; what was made before is kept.[/]{named} Mend the cause, then run again."
                )
                print_causes(pipeline, outcome.failed_runs, console)
                tell_damage(pipeline.storage)
                raise SystemExit(1)
            if failed:
                console.print(
                    f"\n[yellow]Left out, as selection.allow_missing allows; failed shards: {failed}.[/] Run again to "
                    "make them."
                )
                print_causes(pipeline, outcome.failed_runs, console)


@main.command()
@click.option(
    "--recipe",
    "-r",
    "recipes",
    multiple=True,
    help="Recipe file, or the name of a packaged one; once for each recipe that uses the storage. "
    f"[default: ({DEFAULT_RECIPE})]",
)
@click.option(
    "--older-than",
    "age",
    default="24h",
    show_default=True,
    metavar="AGE",
    help="Leave alone what was written since, as a run may be at work on it: 90m, 24h, 7d; 0h for all.",
)
@click.option("--yes", is_flag=True, help="Delete what is listed.")
def gc(recipes: tuple[str, ...], age: str, yes: bool) -> None:
    """List what no recipe and no selected pair refers to, with its size and why; delete it with --yes.

    That is what other generators, scorers and judges have made, damaged files in quarantine, and temporary files
    of writers that were killed. Nothing that a selected pair needs is among it, and no captions, plans or exports.
    """
    import time

    from synthvlm_dagster.operations.garbage.listing import amount, print_garbage, print_looked_at, seconds_of_age

    seconds = seconds_of_age(age)
    if seconds is None:
        raise click.UsageError(f"--older-than {age}: write a number and s, m, h or d, for example 24h")
    with plain_errors():
        first = use_recipe(recipes[0] if recipes else active_recipe_name())
        from synthvlm_dagster.operations.garbage.find import delete_garbage, find_garbage
        from synthvlm_dagster.operations.garbage.references import find_references
        from synthvlm_dagster.operations.garbage.unplanned import (
            delete_unplanned,
            find_unplanned,
            why_plan_is_unknown,
        )
        from synthvlm_dagster.store.storage import Storage

        together = [first, *(load_recipe(recipe) for recipe in recipes[1:])]
        storage = Storage(first.storage)
        # The files first: what is written while the references are read is not among them.
        files = storage.every_file()
        references = find_references(storage, together)
        plan_unknown = why_plan_is_unknown(storage, together)
        print_looked_at(storage.url(), together, references, console, plan_unknown)
        unnamed = find_garbage(files, references)
        going = {file.path for thing in unnamed for file in thing.files}
        left = [file for file in files if file.path not in going]
        unplanned = [] if plan_unknown else find_unplanned(storage, left, together)
        garbage = [*unnamed, *unplanned]
        rested = [thing for thing in garbage if thing.has_rested(seconds, time.time())]
        waiting = [thing for thing in garbage if thing not in rested]
        if waiting:
            console.print(f"left alone, as it was written within the last {age} ({amount(waiting)}):")
            print_garbage(waiting, console)
            console.print()
        if not rested:
            console.print("nothing to delete")
            return
        print_garbage(rested, console)
        if not yes:
            console.print(f"\n{amount(rested)} can be deleted; nothing has been. Delete it with --yes")
            return
        whole, parts = ([thing for thing in found if thing in rested] for found in (unnamed, unplanned))
        for thing in chain(delete_garbage(storage, whole), delete_unplanned(storage, parts, together)):
            console.print(f"deleted  {thing.path}", markup=False)
        console.print(f"\n{amount(rested)} deleted")


@main.command()
@click.option("--limit", type=click.IntRange(min=1), default=None, help="As many runs, however many GPUs there are.")
def gpus(limit: int | None) -> None:
    """Let as many runs use a GPU at the same time as this machine has GPUs.

    Sets the limit of the pool `gpu` on the project's Dagster instance: that of $DAGSTER_HOME, or of the folder. Each
    run takes a GPU of its own.
    """
    with plain_errors():
        from synthvlm_dagster.operations.instance import open_instance
        from synthvlm_dagster.operations.runs.gpu_pool import count_gpus, most_runs, set_pool_limit

        home = set_dagster_home()
        lay_out_dagster_home(home)
        devices = count_gpus()
        runs = limit or max(devices, 1)
        found = f"{devices} CUDA device{'' if devices == 1 else 's'}" if devices else "no CUDA device"
        console.print(f"found    {found} on this machine")
        with open_instance(home) as instance:
            set_pool_limit(instance, runs)
            most = most_runs(instance)
        console.print(f"set      pool gpu: {runs} run{'' if runs == 1 else 's'} at a time, in {home}", markup=False)
        if most is not None and runs > most:
            console.print(f"note     dagster.yaml lets {most} runs of any kind run at a time: max_concurrent_runs")


@contextmanager
def open_pipeline(recipe: Recipe) -> Iterator[Pipeline]:
    """The recipe's pipeline on the project's Dagster instance."""
    from synthvlm_dagster.definitions import build_definitions
    from synthvlm_dagster.operations.instance import open_instance
    from synthvlm_dagster.operations.run import Pipeline
    from synthvlm_dagster.orchestration.dataset import Dataset

    home = set_dagster_home()
    lay_out_dagster_home(home)
    with open_instance(home) as instance:
        yield Pipeline(build_definitions(recipe).get_repository_def(), instance, Dataset(recipe))


def tell_damage(storage: Storage) -> bool:
    """Name the damaged tables of the store, if any: what fails because of one does not always say which it is."""
    damaged = storage.damaged_tables(left_out=("images", "failed_images", "dataset/huggingface"))
    for url in damaged:
        console.print(f"{url}: is damaged. Delete it; it is made again by the next run", markup=False)
    return bool(damaged)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show a user's mistake as its message alone; a traceback is for mistakes of this program."""
    try:
        yield
    except SynthVLMError as error:
        console.print(f"[red]{type(error).__name__}[/]")
        console.print(str(error), markup=False)
        raise SystemExit(2) from error
    # Of polars' errors those of Rust are no Exception.
    except BaseException as error:
        from synthvlm_dagster.store.storage import UNREADABLE_TABLE, Storage

        if not isinstance(error, UNREADABLE_TABLE) or not tell_damage(Storage(active_recipe().storage)):
            raise
        raise SystemExit(2) from error


def use_recipe(recipe: str) -> Recipe:
    """Read a recipe, and make it the active one of this process and of those it starts, on the project's instance.

    Raises:
        RecipeError: it cannot be read or is not valid.
    """
    set_dagster_home()
    os.environ[RECIPE_VARIABLE] = recipe if recipe in packaged_recipes() else str(Path(recipe).resolve())
    return active_recipe()


def parse_shards(text: str, known: list[str]) -> list[str]:
    """Read partition keys and ranges such as `0000,0004-0007`.

    Raises:
        click.UsageError: a key is not one of `known`, or a range runs backwards.
    """
    chosen: set[str] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        for key in (first, last):
            if key not in known:
                raise click.UsageError(f"no shard {key!r}; this recipe has {known[0]} to {known[-1]}")
        if first > last:
            raise click.UsageError(f"{part.strip()}: the range runs backwards")
        chosen.update(key for key in known if first <= key <= last)
    return sorted(chosen)


if __name__ == "__main__":
    main()
