"""The selection of 10,000,000 scored images: this package beside duckdb and pandas, the same rows out.

    pip install --group benchmarks
    python benchmarks/selection.py

Every engine reads the same parquet files, writes the selected pairs to a parquet file, and runs in a process of its
own. Seconds are wall-clock and CPU time of all threads, from before the files are opened until the selection is
written, without the imports; the peak of resident memory is the process's, imports included. This package also refuses
missing and impossible scores and repeated images, which the others here do not look for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

ATTEMPTS = 4
SHARDS = 64
SSIM_WEIGHT = 0.5
SHARE = 0.04
COLUMNS = ("image_id", "caption_id", "attempt", "shard", "text", "clip_score", "ssim", "weighted_score", "rank")


def main() -> None:
    """Measure every engine and print how they compare, or be one of them."""
    options = _options()
    if options.engine:
        ENGINES[options.engine](options.folder / "scores", options.folder / f"{options.engine}.parquet")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "scores").is_dir():
            print(f"Writing {options.rows:,} score rows into {SHARDS} files …", flush=True)
            write_scores(folder / "scores", options.rows)
        measured = {engine: [_measure(engine, folder) for _ in range(options.repeats)] for engine in options.engines}
        _report(measured)
        _compare({engine: pl.read_parquet(folder / f"{engine}.parquet") for engine in options.engines})


def write_scores(folder: Path, rows: int) -> None:
    """Score tables as a run leaves them: one file per shard, images of a caption together, scores with four digits.

    The digits are few so that equal scores, which image_ids must part, are common.
    """
    import numpy as np

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    captions = -(-rows // (ATTEMPTS * SHARDS))
    left = rows
    for shard in range(SHARDS):
        identities = [f"{number:016x}" for number in random.integers(0, 2**64, size=captions, dtype=np.uint64)]
        frame = (
            pl.DataFrame({"caption_id": identities, "number": random.integers(10**9, size=captions)})
            .join(pl.DataFrame({"attempt": pl.Series(range(ATTEMPTS), dtype=pl.Int32)}), how="cross")
            .head(left)
        )
        left -= frame.height
        frame.select(
            pl.format("{}-0{}", "caption_id", "attempt").alias("image_id"),
            "caption_id",
            "attempt",
            pl.lit(f"{shard:04d}").alias("shard"),
            pl.format("A photograph of {} on a wooden table beside an open window, in the evening", "number").alias(
                "text"
            ),
            pl.Series("clip_score", random.normal(0.30, 0.04, frame.height).clip(0, 1).round(4)),
            pl.Series("ssim", random.normal(0.85, 0.06, frame.height).clip(-1, 1).round(4)),
        ).write_parquet(folder / f"{shard:04d}.parquet")


def select_with_package(scores: Path, target: Path) -> None:
    """`select_pairs`, streamed into a file as the asset does."""
    from synthvlm_dagster.dataset.selection import select_pairs
    from synthvlm_dagster.recipe import Selection

    with _measured():
        selection = Selection(strategy="paper", ssim_weight=SSIM_WEIGHT, share=SHARE)
        select_pairs(pl.scan_parquet(scores), selection).sink_parquet(target)


def select_with_duckdb(scores: Path, target: Path) -> None:
    """One query: the first of each caption's attempts, then the first of all."""
    import duckdb

    with _measured():
        connection = duckdb.connect()
        connection.execute(f"SET threads TO {os.cpu_count()}")
        (captions,) = connection.execute(
            f"SELECT count(DISTINCT caption_id) FROM read_parquet('{scores}/*.parquet')"
        ).fetchone()
        connection.execute(f"""
            COPY (
                WITH merits AS (
                    SELECT *, clip_score + {SSIM_WEIGHT}::DOUBLE * ssim AS weighted_score
                    FROM read_parquet('{scores}/*.parquet')
                ),
                best AS (
                    SELECT caption_id, arg_min(image_id, (-weighted_score, image_id)) AS image_id,
                           max(weighted_score) AS weighted_score
                    FROM merits GROUP BY caption_id
                ),
                kept AS (
                    SELECT image_id, row_number() OVER (ORDER BY weighted_score DESC, image_id) AS rank
                    FROM best ORDER BY weighted_score DESC, image_id LIMIT {round(SHARE * captions)}
                )
                SELECT {", ".join(COLUMNS)} FROM merits JOIN kept USING (image_id) ORDER BY rank
            ) TO '{target}' (FORMAT parquet)
        """)


def select_with_pandas(scores: Path, target: Path) -> None:
    """Sort by caption, score and image, keep the first of each, sort again, keep the head."""
    import pandas as pd

    with _measured():
        measures = pd.read_parquet(scores, columns=["image_id", "caption_id", "clip_score", "ssim"])
        measures["weighted_score"] = measures["clip_score"] + SSIM_WEIGHT * measures["ssim"]
        ordered = measures.sort_values(["weighted_score", "image_id"], ascending=[False, True])
        best = ordered.drop_duplicates("caption_id")
        kept = best.head(round(SHARE * len(best)))["image_id"].to_frame()
        del measures, ordered, best
        kept["rank"] = range(1, len(kept) + 1)
        rows = pd.read_parquet(scores).merge(kept, on="image_id")
        rows["weighted_score"] = rows["clip_score"] + SSIM_WEIGHT * rows["ssim"]
        rows.sort_values("rank")[list(COLUMNS)].to_parquet(target, index=False)


ENGINES: dict[str, Callable[[Path, Path], None]] = {
    "synthvlm_dagster": select_with_package,
    "duckdb": select_with_duckdb,
    "pandas": select_with_pandas,
}


class _measured:  # noqa: N801 - reads as a statement
    """Prints the wall-clock and CPU seconds of its block."""

    def __enter__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        wall, processor = self._start
        print(time.perf_counter() - wall, time.process_time() - processor)


def _measure(engine: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--engine", engine, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{engine} failed")
    wall, processor = map(float, printed.split())
    # Linux counts in KiB.
    return {"wall": wall, "cpu": processor, "peak": usage.ru_maxrss * 1024 / 1e6}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="score rows, four to a caption")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each engine; the fastest counts")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--folder", type=Path, help="where the tables are, or are made and kept; else they are removed")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(measured: dict[str, list[dict[str, float]]]) -> None:
    fastest = {engine: min(runs, key=lambda run: run["wall"]) for engine, runs in measured.items()}
    ours = fastest["synthvlm_dagster"]
    print(f"\n{'':20}{'seconds':>10}{'CPU-seconds':>14}{'peak, MB':>12}{'times ours':>14}")
    for engine, run in fastest.items():
        ratio = run["wall"] / ours["wall"]
        print(f"{engine:20}{run['wall']:10.2f}{run['cpu']:14.2f}{run['peak']:12,.0f}{ratio:14.2f}")


def _compare(selections: dict[str, pl.DataFrame]) -> None:
    [(first, expected), *others] = selections.items()
    for engine, selection in others:
        same = selection.select(COLUMNS).cast(expected.schema).equals(expected)
        print(f"{engine}: {'the same' if same else 'OTHER'} {selection.height:,} rows as {first}")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
