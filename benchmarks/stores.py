"""The same recipe on three stores gives the same dataset: SQLite and disk, PostgreSQL and disk, PostgreSQL and S3.

    python benchmarks/stores.py                # the demo's recipe
    python benchmarks/stores.py --small        # twelve captions

Each store is worked on by `synthvlm run` in a folder of its own. PostgreSQL is a server of Debian's package that is
started for it, S3 is moto's server. Ends with 1 where the selected pairs differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import polars as pl

from synthvlm_dagster.dataset.pairs import SELECTED, with_images
from synthvlm_dagster.recipe import load_recipe
from synthvlm_dagster.recipe.active import RECIPE_VARIABLE
from synthvlm_dagster.recipe.model import STORAGE_VARIABLE
from synthvlm_dagster.store.storage import Storage
from synthvlm_dagster_tests.end_to_end.project import make_project
from synthvlm_dagster_tests.stores.postgres_server import PostgresServer, postgres_commands, postgres_server
from synthvlm_dagster_tests.stores.s3_server import BUCKET, S3Server, s3_server

CHECKOUT = Path(__file__).resolve().parents[1]
SQLITE = CHECKOUT / "dagster.yaml"
POSTGRES = CHECKOUT / "deploy" / "postgres" / "dagster.yaml"
SMALL_CAPTIONS = 12
_OURS = ("DAGSTER", "SYNTHVLM", "AWS_", "PG")


@dataclass(frozen=True)
class Store:
    """Where a pipeline keeps its records and its tables.

    Attributes:
        name: short.
        settings: dagster.yaml.
        tables: URL of the tables; empty: a folder.
        variables: of the environment, with the credentials of both.
    """

    name: str
    settings: Path
    tables: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        seconds: wall-clock time of `synthvlm run`, with the start of Python.
        pairs: number of selected pairs.
        digest: of their ids, captions, scores, ranks and image files.
    """

    seconds: float
    pairs: int
    digest: str


def main() -> int:
    """Run the recipe on every store and print how the outcomes compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="twelve captions in place of the demo")
    options = parser.parse_args()
    commands = postgres_commands()
    if commands is None:
        parser.error("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as folder, postgres_server(commands) as postgres, s3_server() as s3:
        outcomes = {}
        for store in three_stores(postgres, s3):
            # The records of the run before belong to another folder.
            postgres.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            outcomes[store.name] = run_on(store, Path(folder) / store.name, small=options.small)
            print(f"{store.name}: done", file=sys.stderr, flush=True)
    print(table(outcomes))
    return 0 if are_equal(outcomes) else 1


def three_stores(postgres: PostgresServer, s3: S3Server) -> list[Store]:
    """The stores that are compared."""
    return [
        Store("sqlite+disk", SQLITE, "", {}),
        Store("postgres+disk", POSTGRES, "", postgres.environment),
        Store("postgres+s3", POSTGRES, f"s3://{BUCKET}/tables", {**postgres.environment, **s3.environment}),
    ]


def run_on(store: Store, folder: Path, *, small: bool) -> Outcome:
    """Make the dataset with `synthvlm run`, and look at it.

    Args:
        store: to work on.
        folder: is made; gets the Dagster home, what the command says (`output.txt`), and tables on disk.
        small: twelve captions in place of the demo. They are read from S3 too where the tables are there.
    """
    variables = prepare(store, folder, small=small)
    started = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        command = [sys.executable, "-m", "synthvlm_dagster.cli", "run"]
        status = subprocess.run(
            command,
            cwd=folder,
            env=bare_environment() | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    seconds = time.monotonic() - started
    if status:
        raise SystemExit(f"{store.name}: synthvlm run ended with {status}\n{(folder / 'output.txt').read_text()}")
    with in_environment(variables):
        return Outcome(seconds, *selected_pairs())


def prepare(store: Store, folder: Path, *, small: bool) -> dict[str, str]:
    """Lay out the folder of `run_on`; returns the environment's variables for commands in it."""
    home = folder / ".dagster_home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_bytes(store.settings.read_bytes())
    variables = {
        **store.variables,
        "DAGSTER_HOME": str(home),
        RECIPE_VARIABLE: "demo",
        STORAGE_VARIABLE: store.tables or str(folder / "tables"),
        "PYTHONUNBUFFERED": "1",
    }
    if small:
        project = make_project(folder / "project", captions=SMALL_CAPTIONS, shards=2, attempts=1)
        file = project.folder / "recipe.yaml"
        text = file.read_text().replace("storage: storage\n", "")
        if store.tables:
            captions = Storage(store.tables.rpartition("/")[0] + "/captions")
            with in_environment(variables):
                captions.write_bytes("mine.csv", (project.folder / "captions.csv").read_bytes())
            text = text.replace("path: captions.csv", f"path: {captions.url('mine.csv')}")
        file.write_text(text)
        variables[RECIPE_VARIABLE] = str(file)
    return variables


def selected_pairs() -> tuple[int, str]:
    """Number and digest of the selected pairs of the recipe and store that the environment names."""
    recipe = load_recipe(os.environ[RECIPE_VARIABLE])
    storage = Storage(recipe.storage)
    selected = storage.scan(SELECTED).collect()
    rows = pl.concat(list(with_images(recipe, storage, selected)))
    digest = hashlib.blake2b(digest_size=8)
    for row in rows.sort("image_id").iter_rows(named=True):
        row["image"] = hashlib.blake2b(row["image"]["bytes"]).hexdigest()
        digest.update(json.dumps(row, sort_keys=True).encode())
    return rows.height, digest.hexdigest()


def are_equal(outcomes: Mapping[str, Outcome]) -> bool:
    """Whether every store has the same selected pairs."""
    return len({(outcome.pairs, outcome.digest) for outcome in outcomes.values()}) <= 1


def table(outcomes: Mapping[str, Outcome]) -> str:
    """A line for each store, in Markdown."""
    lines = ["| store | seconds | pairs | digest |", "|---|---:|---:|---|"]
    lines += [f"| {name} | {one.seconds:.1f} | {one.pairs} | {one.digest} |" for name, one in outcomes.items()]
    return "\n".join(lines)


def bare_environment() -> dict[str, str]:
    """This process's environment without what names a project, a database or a store."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have the variables in this process's environment for a while."""
    with patch.dict(os.environ, variables):
        yield


if __name__ == "__main__":
    sys.exit(main())
