"""kill -9 at random moments of a project at work, again and again; nothing may be lost, doubled, torn or left hanging.

    python benchmarks/soak.py                        # 100 kills on a project of 96 images a round
    python benchmarks/soak.py --demo                 # the same on the demo recipe, 960 images a round
    python benchmarks/soak.py --kills 5 --seed 3

A code server, a daemon and a web server run as they do on a machine that stays up. A backfill of every asset is
launched over GraphQL, and again as soon as it has ended without success, as a person would. Meanwhile one process after
the other is killed – a run's worker, the daemon, the web server, the code server, or all at once as in a power cut –
and started again where a service manager would. When a round's dataset is complete it is looked at, its storage is put
aside, and the next round makes everything anew on the same Dagster instance, until the kills are used up. The same
recipe is run undisturbed once; every round must select the very same pairs.

The seed decides the victims and the pauses; what a kill meets is up to the machine. Exit code 1 when a promise is
broken. Ctrl-C, once, or SIGTERM: no more kills; the round is ended and the table printed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import dagster as dg
import polars as pl
import yaml
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus
from PIL import Image

from synthvlm_dagster.attempts.state import planned_images
from synthvlm_dagster.operations.runs.dead_runs import UNFINISHED
from synthvlm_dagster.recipe import RECIPES_FOLDER
from synthvlm_dagster_tests.end_to_end.deployment import (
    CODE_SERVER,
    DAEMON,
    WEB_SERVER,
    Deployment,
    kill_process,
    live_workers,
)
from synthvlm_dagster_tests.end_to_end.project import EVERY_ASSET, Project, make_project

WORKER, POWER_CUT = "run worker", "all at once"
VICTIMS = {WORKER: 8, CODE_SERVER: 4, DAEMON: 4, WEB_SERVER: 2, POWER_CUT: 2}
"""How often each is the victim, of 20."""

LEAST_RETRIES = 3
SECONDS_TO_SETTLE = 90


class Soak:
    """A project under kills, and what has been seen of it.

    Args:
        folder: for the project.
        make: lays out the project in a folder.
        kills: how many.
        pause: mean seconds between two kills, from when everything runs again.
        seed: of victims and pauses.
    """

    def __init__(self, folder: Path, make: Callable[[Path], Project], kills: int, pause: float, seed: int) -> None:
        self.project = make(folder / "disturbed")
        self.reference = selected_pairs(run_undisturbed(make(folder / "undisturbed")))
        self.deployment = Deployment(self.project)
        self.kills_left = kills
        self.pause = pause
        self.random = random.Random(seed)
        self.victim = self._draw_victim()
        self.kills: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.slot_seconds = 0.0
        self.backfill: str | None = None

    def run(self) -> None:
        """Rounds until the kills are used up; the last one ends undisturbed."""
        # Opened before anything starts: SQLite databases that several processes lay out at once are spoilt.
        with self.deployment.instance() as instance:
            self.deployment.start()
            try:
                while True:
                    self.found["rounds"] += 1
                    self._one_round(instance)
                    self._look_at_dataset()
                    if not self.kills_left:
                        break
                    shutil.move(self.project.folder / "storage", self.project.folder / f"round-{self.found['rounds']}")
                self._look_for_zombies(instance)
            finally:
                self.deployment.stop()

    def end_soon(self) -> None:
        """Kill nothing more; a second time, stop at once."""
        if not self.kills_left:
            raise KeyboardInterrupt
        self.kills_left = 0

    def _one_round(self, instance: dg.DagsterInstance) -> None:
        self.backfill = None
        next_kill = time.monotonic() + self._next_pause()
        while True:
            if self._ended(instance):
                return
            if self.kills_left and time.monotonic() >= next_kill:
                # Where the victim is a worker and there is none, it is the next one.
                if self._kill(instance, self.victim):
                    self.victim = self._draw_victim()
                next_kill = time.monotonic() + self._next_pause()
            time.sleep(0.5)

    def _ended(self, instance: dg.DagsterInstance) -> bool:
        """Whether the round's backfill has succeeded; launches one, where there is none at work."""
        backfill = instance.get_backfill(self.backfill) if self.backfill else None
        if backfill and backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
            return False
        if backfill and backfill.status == BulkActionStatus.COMPLETED_SUCCESS:
            return True
        self.backfill = self.deployment.launch_backfill(EVERY_ASSET)
        self.found["backfills"] += 1
        return False

    def _next_pause(self) -> float:
        return self.random.uniform(0.2, 2 * self.pause)

    def _draw_victim(self) -> str:
        return self.random.choices(list(VICTIMS), list(VICTIMS.values()))[0]

    def _kill(self, instance: dg.DagsterInstance, victim: str) -> bool:
        """Kill a victim, and start again what a service manager would; False when there is no worker to kill."""
        workers = live_workers(instance)
        if victim == WORKER and not workers:
            return False
        killed: dict[str, int] = {}
        down: tuple[str, ...] = ()
        if victim == WORKER:
            killed = dict([self.random.choice(sorted(workers.items()))])
            kill_process(*killed.values())
        elif victim == POWER_CUT:
            killed, down = workers, (CODE_SERVER, DAEMON, WEB_SERVER)
            self.deployment.stop()
        else:
            down = (victim,)
            self.deployment.kill(victim)
        began = time.monotonic()
        self.kills[victim] += 1
        self.kills_left = max(self.kills_left - 1, 0)
        print(f"{time.strftime('%H:%M:%S')}  killed {victim} ({self.kills.total()})", flush=True)
        if down:
            time.sleep(self.random.uniform(0, 3))
            began = time.monotonic()
            self.deployment.start(*down)
        self._wait_for_slots(instance, set(killed), began)
        return True

    def _wait_for_slots(self, instance: dg.DagsterInstance, runs: set[str], began: float) -> None:
        """Measure how long killed runs keep their slots, from the kill, or from the start of new services."""
        if not runs:
            return
        held = dg.RunsFilter(run_ids=list(runs), statuses=UNFINISHED)
        while instance.get_runs(held) and time.monotonic() - began < SECONDS_TO_SETTLE:
            time.sleep(0.5)
        seconds = time.monotonic() - began
        self.slot_seconds = max(self.slot_seconds, seconds)
        self.found["slots held over 60 s"] += seconds > 60

    def _look_at_dataset(self) -> None:
        project = self.project
        images = planned_images(project.recipe, project.storage)
        ids = project.image_ids()
        self.found["images made"] += len(ids)
        self.found["images lost"] += images.missing.height
        self.found["images made twice"] += len(ids) - len(set(ids))
        for path in torn_files(project):
            print(f"torn: {path}", flush=True)
            self.found["torn files"] += 1
        if not selected_pairs(project).equals(self.reference):
            self.found["rounds with other pairs"] += 1

    def _look_for_zombies(self, instance: dg.DagsterInstance) -> None:
        """Runs without an end when everything has come to rest, and processes that outlive the services."""
        unfinished = dg.RunsFilter(statuses=[*UNFINISHED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED])
        began = time.monotonic()
        while (left := instance.get_runs(unfinished)) and time.monotonic() - began < SECONDS_TO_SETTLE:
            time.sleep(1)
        self.found["zombie runs"] = len(left)
        self.found["runs"] = instance.get_runs_count()
        for run in left:
            print(f"zombie: {run.run_id} {run.status.value} {run.tags}", flush=True)
        for name in (CODE_SERVER, DAEMON, WEB_SERVER):
            service = self.deployment.services[name]
            service.terminate()
            service.wait(60)
        time.sleep(5)
        orphans = self.deployment.processes()
        self.found["orphaned processes"] = len(orphans)
        for process in orphans:
            print(f"orphan: {process.pid} {' '.join(process.cmdline())}", flush=True)


def small_project(folder: Path, *, captions: int, shards: int) -> Project:
    """The small project of the tests, with four images of each caption."""
    return _with_retries(make_project(folder, captions=captions, shards=shards, attempts=4))


def demo_project(folder: Path) -> Project:
    """The demo recipe in a folder of its own."""
    project = make_project(folder)
    demo = (RECIPES_FOLDER / "demo.yaml").read_text(encoding="utf-8")
    (folder / "recipe.yaml").write_text(f"storage: storage\n{demo}", encoding="utf-8")
    return _with_retries(project)


def _with_retries(project: Project) -> Project:
    """Have Dagster try runs again after crashes."""
    file = project.folder / "dagster.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["run_retries"]["max_retries"] = max(settings["run_retries"]["max_retries"], LEAST_RETRIES)
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return project


def run_undisturbed(project: Project) -> Project:
    """Make all of a project in one go, in a terminal."""
    log = project.folder / "run.log"
    with log.open("w") as output:
        if project.start("synthvlm_dagster.cli", "run", stdout=output, stderr=output).wait():
            raise SystemExit(f"the undisturbed run failed:\n{log.read_text()}")
    return project


def selected_pairs(project: Project) -> pl.DataFrame:
    """The chosen pairs with all their scores, best first."""
    return project.storage.scan("dataset/selected").collect().sort("rank")


def torn_files(project: Project) -> Iterator[str]:
    """Files under a final name that cannot be read to their end, pictures included; and quarantined chunks."""
    storage = project.storage
    for path in storage.files(""):
        try:
            content = storage.read_bytes(path)
            if path.endswith(".parquet"):
                table = pl.read_parquet(BytesIO(content))
                pictures = table["image"].struct.field("bytes") if "image" in table.columns else ()
                for picture in pictures:
                    Image.open(BytesIO(picture)).load()
            elif path.endswith(".tar"):
                with tarfile.open(fileobj=BytesIO(content)) as tar:
                    tar.getmembers()
            elif path.endswith((".png", ".jpg")):
                Image.open(BytesIO(content)).load()
            elif path.endswith(".json"):
                yaml.safe_load(content)
            elif path.endswith(".corrupt"):
                yield path
        except Exception as error:
            yield f"{path}: {error}"


PROMISED_ZERO = (
    "images lost",
    "images made twice",
    "torn files",
    "rounds with other pairs",
    "slots held over 60 s",
    "zombie runs",
    "orphaned processes",
)


def main() -> None:
    """Soak, print the table, and exit with 1 when something is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="the demo recipe, in place of the small project")
    parser.add_argument("--captions", type=int, default=24, help="of the small project; each gets four images")
    parser.add_argument("--shards", type=int, default=4, help="of the small project")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pause", type=float, default=6.0, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        small = partial(small_project, captions=options.captions, shards=options.shards)
        make = demo_project if options.demo else small
        soak = Soak(options.folder or Path(temporary), make, options.kills, options.pause, options.seed)
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, lambda *_: soak.end_soon())
        began = time.monotonic()
        soak.run()
        lines = [*((name, str(soak.found[name])) for name in PROMISED_ZERO)]
        lines += [(name, str(soak.found[name])) for name in ("images made", "rounds", "backfills", "runs")]
        lines += [(f"kills of {victim}", str(soak.kills[victim])) for victim in VICTIMS]
        lines += [("kills", str(soak.kills.total()))]
        lines += [("longest hold of a slot", f"{soak.slot_seconds:.0f} s")]
        lines += [("wall time", f"{time.monotonic() - began:.0f} s")]
        for name, figure in lines:
            print(f"{name:<26}{figure:>8}")
    sys.exit(any(soak.found[name] for name in PROMISED_ZERO))


if __name__ == "__main__":
    main()
