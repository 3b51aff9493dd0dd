"""The five text rules on the same captions: this package against Data-Juicer's own operators, called batch-wise.

    python benchmarks/curation.py --captions 1000000 --data-juicer-python PATH

Each side runs in a process of its own. CPU-seconds are user and system time of all threads, while the statistics are
measured; what comes before (imports, compiled kernels) is stated apart. Data-Juicer gets its captions already inside
the text template, this package puts them there itself.

Captions are those of the sources as they are (without --source: the 25,014 COCO captions of ../shared), then the same
in the same order again and again, each with one word, at a random place, exchanged for a random word of another one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from synthvlm_dagster.captions.readers import read_captions
from synthvlm_dagster.recipe import CaptionSource, Curation

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
DATA_JUICER_ENVIRONMENT = HERE.parent / "build" / "data-juicer"
DATA_JUICER_PACKAGES = ("py-data-juicer>=1.6,<1.7", "aiohttp", "pip")
RULES = ("alnum_ratio", "special_char_ratio", "char_rep_ratio", "word_rep_ratio", "flagged_words_ratio")


def main() -> None:
    """Measure both sides and print how they compare."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        texts = captions(options.source, options.captions)
        settings = _settings(options, work)
        pl.DataFrame({"text": texts}).write_parquet(work / "captions.parquet")
        ours = _run(sys.executable, "measure_with_package.py", work, settings)

        subset = texts.head(options.data_juicer_captions or len(texts))
        wrapped = [settings["template"].replace("{caption}", text) for text in subset]
        pl.DataFrame({"text": wrapped}).write_parquet(work / "captions.parquet")
        theirs = _run(
            options.data_juicer_python or _data_juicer_python(), "measure_with_data_juicer.py", work, settings
        )
        measured = pl.read_parquet(work / "measure_with_package.parquet").head(len(subset))
        expected = pl.read_parquet(work / "measure_with_data_juicer.parquet")
    _report(ours, theirs)
    _compare(measured, expected, settings["bounds"])


def captions(sources: list[str], count: int) -> pl.Series:
    """`count` captions of the sources: as they are, then again with one word of each exchanged."""
    named = [CaptionSource(name=f"source-{number}", path=path) for number, path in enumerate(sources)]
    found = pl.concat([frame["text"].drop_nulls() for frame in read_captions(named)]).head(count).to_list()
    choice = random.Random(0)
    varied = []
    for number in range(count - len(found)):
        words = found[number % len(found)].split(" ")
        words[choice.randrange(len(words))] = choice.choice(choice.choice(found).split(" "))
        varied.append(" ".join(words))
    return pl.Series("text", found + varied, dtype=pl.String)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000, help="captions that this package measures")
    parser.add_argument(
        "--data-juicer-captions", type=int, default=50_000, help="the first so many for Data-Juicer; 0: all of them"
    )
    parser.add_argument(
        "--source",
        nargs="+",
        default=[str(SHARED / "captions" / "coco_captions_val2017.json.gz")],
        help="caption files",
    )
    parser.add_argument(
        "--flagged-words", type=Path, default=SHARED / "data_juicer" / "flagged_words.json",
        help="Data-Juicer's flagged_words.json, whose English list both sides use",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=1000, help="captions in each call of a Data-Juicer operator")
    parser.add_argument(
        "--data-juicer-python",
        help=f"Python of an environment with {DATA_JUICER_PACKAGES[0]} and aiohttp; else one is made in "
        f"{DATA_JUICER_ENVIRONMENT.relative_to(HERE.parent)}",
    )
    return parser.parse_args()


def _settings(options: argparse.Namespace, work: Path) -> dict:
    curation = Curation()
    # Data-Juicer takes a folder, and every file in it that is named so.
    (work / "flagged").mkdir()
    shutil.copy(options.flagged_words, work / "flagged" / "flagged_words.json")
    return {
        "template": curation.text_template,
        "flagged_words_folder": str(work / "flagged"),
        "flagged_words": json.loads(options.flagged_words.read_text(encoding="utf-8"))["en"],
        "batch_size": options.batch_size,
        "bounds": {rule: getattr(curation.rules, rule).model_dump() for rule in RULES},
    }


def _run(python: str, script: str, work: Path, settings: dict) -> dict:
    (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    # Data-Juicer installs what it lacks with the pip, or uv, that it finds first.
    environment = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        [python, str(HERE / script), str(work)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def _data_juicer_python() -> str:
    python = DATA_JUICER_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        print(f"Installing {DATA_JUICER_PACKAGES[0]} into {DATA_JUICER_ENVIRONMENT} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(DATA_JUICER_ENVIRONMENT)], check=True)
    # Says nothing and changes nothing where all is there already; a half-made environment is completed.
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *DATA_JUICER_PACKAGES], check=True)
    return str(python)


def _report(ours: dict, theirs: dict) -> None:
    rates = [side["captions"] / side["cpu_seconds"] for side in (ours, theirs)]
    rows = [
        ("captions", "{:,.0f}", [ours["captions"], theirs["captions"]]),
        ("CPU-seconds", "{:,.2f}", [ours["cpu_seconds"], theirs["cpu_seconds"]]),
        ("captions per CPU-second", "{:,.0f}", rates),
        ("wall seconds", "{:,.2f}", [ours["wall_seconds"], theirs["wall_seconds"]]),
        ("CPU-seconds before (imports, compiling)", "{:,.2f}", [ours["start_seconds"], theirs["start_seconds"]]),
        ("peak memory, MB", "{:,.0f}", [ours["peak_bytes"] / 1e6, theirs["peak_bytes"] / 1e6]),
    ]
    print(f"\n{'':40}{ours['name']:>22}{theirs['name']:>22}")
    for label, form, values in rows:
        print(f"{label:40}" + "".join(f"{form.format(value):>22}" for value in values))
    print(f"\n{rates[0] / rates[1]:.1f} times as many captions per CPU-second")


def _compare(measured: pl.DataFrame, expected: pl.DataFrame, bounds: dict) -> None:
    print(f"\nThe {len(expected):,} captions that both measured:")
    for rule in RULES:
        low, high = bounds[rule]["min"], bounds[rule]["max"]
        kept = pl.lit(True) if low is None else pl.col(rule) >= low
        kept &= pl.lit(True) if high is None else pl.col(rule) <= high
        decisions = measured.select(keep=kept)["keep"]
        mismatches = (decisions != expected[f"{rule}_keep"]).sum()
        difference = (measured[rule] - expected[rule]).abs().max()
        print(
            f"  {rule:22}{mismatches:6,} decisions differ, largest difference {difference:g}, "
            f"{decisions.mean():.2%} kept"
        )


if __name__ == "__main__":
    main()
