"""What orchestration costs: the wall time of a backfill against the work of its shards, under a real Dagster daemon.

Starts `dagster dev` over a project of its own in a temporary folder, launches a backfill of `generated_images` as the
web UI does (`launchPartitionBackfill`), waits for its end, and reads from the event log what each shard took. The
demo's model draws the images on this machine's CPU or GPU. Everything between the click and the end counts as wall
time: the daemon's looks at the backfill and the queue (every 30 and 5 seconds), starting a process for each run,
importing PyTorch, loading the model. The work is the seconds from a shard's first noise to its last file.

    python benchmarks/backfill.py                                              # 40 short shards
    python benchmarks/backfill.py --seconds-per-shard 60 --variants package    # 40 shards of a minute

The peer, in the same program, is Dagster's default of one run per partition. Runs go one at a time, as on one GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import yaml

from synthvlm_dagster.demo.world import all_scenes, phrasings
from synthvlm_dagster.images.plan import PLAN_DESCRIPTIONS, PLAN_TABLE
from synthvlm_dagster.operations.home import PROJECT_FILES, lay_out_dagster_home, project_file
from synthvlm_dagster.operations.runs.gpu_pool import set_pool_limit
from synthvlm_dagster.store.storage import Storage

VARIANTS = {"package": "several shards per run", "default": "one run per shard, Dagster's default"}
MINUTE = 60
LAUNCH = """
mutation ($partitions: [String!]) {
  launchPartitionBackfill(
    backfillParams: {assetSelection: [{path: ["generated_images"]}], partitionNames: $partitions}
  ) { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
}
"""


def main() -> None:
    """Measure the variants one after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--shards-per-run", type=int, default=4, help="of the variant `package`; 4 is the default")
    parser.add_argument("--images-per-shard", type=int, default=32)
    parser.add_argument(
        "--seconds-per-shard", type=float, help="find the number of images from a first backfill of one shard"
    )
    parser.add_argument("--steps", type=int, default=8, help="denoising steps of an image")
    parser.add_argument("--size", type=int, default=64, help="side of an image, in pixels")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()

    images = options.images_per_shard
    if options.seconds_per_shard:
        trial = backfill(options, shards=1, images=images, shards_per_run=1)
        images = max(1, round(images * options.seconds_per_shard / trial["work_seconds"]))
        print(f"{trial['work_seconds'] / options.images_per_shard:.3f} s per image: {images} images per shard")
    print(f"{options.shards} shards of {images} images, {options.size} × {options.size}, {options.steps} steps\n")
    print(f"{'':<40}{'runs':>6}{'work':>10}{'loading':>10}{'wall':>10}{'overhead':>10}{'per run':>9}{'of 60 s':>9}")
    measured = {}
    for variant in options.variants:
        shards_per_run = options.shards_per_run if variant == "package" else 1
        figures = backfill(options, options.shards, images, shards_per_run)
        measured[variant] = figures
        print(
            f"{VARIANTS[variant]:<40}{figures['runs']:>6}{figures['work_seconds']:>8.1f} s"
            f"{figures['load_seconds']:>8.1f} s{figures['wall_seconds']:>8.1f} s{figures['overhead']:>10.1%}"
            f"{figures['seconds_per_run']:>7.1f} s{figures['overhead_of_minutes']:>9.1%}",
            flush=True,
        )
    print(
        "\noverhead: wall / work − 1; per run: (wall − work) / runs; of 60 s: what the same seconds would be, had each "
        "shard taken a minute"
    )
    if len(measured) > 1:
        ratio = measured["default"]["wall_seconds"] / measured["package"]["wall_seconds"]
        print(f"one run per shard takes {ratio:.2f} times as long")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2), encoding="utf-8")


def backfill(options: argparse.Namespace, shards: int, images: int, shards_per_run: int) -> dict[str, float]:
    """Run one backfill in a project of its own; returns its figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = lay_out_project(folder, options, shards, images, shards_per_run)
        with dg.DagsterInstance.from_config(str(folder / ".dagster_home")) as instance, dagster_dev(folder) as query:
            # Until a pool has been asked for once, Dagster starts all that wait for it.
            set_pool_limit(instance, 1)
            began = time.time()
            answer = query(LAUNCH, partitions=keys)["launchPartitionBackfill"]
            if "backfillId" not in answer:
                raise SystemExit(f"the backfill was not launched: {answer}")
            while (status := status_of(instance, answer["backfillId"])) in ("REQUESTED", "CANCELING", "FAILING"):
                time.sleep(0.2)
            wall = time.time() - began
            if status != "COMPLETED_SUCCESS":
                raise SystemExit(f"the backfill ended as {status}")
            records = instance.fetch_materializations(dg.AssetKey("generated_images"), limit=2 * shards).records
            runs = len(instance.get_runs())
    events = [record.asset_materialization.metadata for record in records if record.asset_materialization]
    if sum(event["images_made_now"].value for event in events) != shards * images:
        raise SystemExit("not every image was made once")
    # Its `seconds` are rounded to tenths.
    work = sum(event["images_made_now"].value / event["images_per_second"].value for event in events)
    return {
        "shards": shards,
        "images": images,
        "runs": runs,
        "work_seconds": work,
        "load_seconds": sum(event["model_load_seconds"].value for event in events),
        "wall_seconds": wall,
        "overhead": wall / work - 1,
        "seconds_per_run": (wall - work) / runs,
        "overhead_of_minutes": (wall - work) / (shards * MINUTE),
    }


def status_of(instance: dg.DagsterInstance, backfill_id: str) -> str:
    """Status of a backfill."""
    found = instance.get_backfill(backfill_id)
    return found.status.value if found else "REQUESTED"


def lay_out_project(
    folder: Path, options: argparse.Namespace, shards: int, images: int, shards_per_run: int
) -> list[str]:
    """Write a project whose plan has so many images in each shard; returns the partition keys."""
    recipe = {
        "name": "backfill",
        "storage": "storage",
        "sources": [{"name": "none", "path": "captions.txt"}],
        "shards": shards,
        "shards_per_run": shards_per_run,
        "generation": {
            "model": "package://synthvlm_dagster.demo/models/shapes-sdxl",
            "num_inference_steps": options.steps,
            "guidance_scale": 2,
            "width": options.size,
            "height": options.size,
            "dtype": "float32",
        },
        "selection": {"share": 0.5},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (folder / "captions.txt").write_text("the plan below is already made\n", encoding="utf-8")
    for name in PROJECT_FILES:
        (folder / name).write_bytes(project_file(name).read_bytes())
    lay_out_dagster_home(folder / ".dagster_home")
    keys = [f"{number:04d}" for number in range(shards)]
    texts = [phrasings(scene)[0] for scene in all_scenes(1)]
    plan = [
        (f"{number:016x}", texts[number % len(texts)], 0, keys[number % shards]) for number in range(shards * images)
    ]
    schema = dict.fromkeys(PLAN_DESCRIPTIONS, pl.String) | {"attempt": pl.Int32}
    Storage(str(folder / "storage")).write_table(PLAN_TABLE, pl.DataFrame(plan, schema=schema, orient="row"))
    return keys


@contextmanager
def dagster_dev(folder: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run web server, daemon and code server over a project; gives what asks their GraphQL API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "SYNTHVLM_RECIPE": str(folder / "recipe.yaml"),
        "DAGSTER_HOME": str(folder / ".dagster_home"),
    }
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]

    def query(text: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["data"]

    with (folder / "dagster-dev.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            while True:
                try:
                    if query("{ assetNodes { id } }")["assetNodes"]:
                        break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass
                if server.poll() is not None:
                    raise SystemExit((folder / "dagster-dev.log").read_text(encoding="utf-8"))
                time.sleep(0.5)
            yield query
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
