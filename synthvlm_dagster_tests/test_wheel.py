"""The wheel holds all that a user needs, and works away from a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The unpacked content of a wheel built from this checkout."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        CHECKOUT,
    ]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_recipes_models_and_captions_are_inside(installed):
    package = installed / "synthvlm_dagster"
    for file in (
        "py.typed",
        "recipes/demo.yaml",
        "recipes/synthvlm-100k.yaml",
        "project/dagster.yaml",
        "project/workspace.yaml",
        "demo/captions/world.tsv",
        "captions/special_characters.txt",
        "dataset/report/page.html.jinja",
        "dataset/report/page.css",
        "dataset/report/page.js",
        "dataset/report/stop_words.txt",
    ):
        assert (package / file).is_file(), file
    assert list(package.glob("demo/models/**/model_index.json"))
    assert list(package.glob("demo/models/**/open_clip_config.json"))
    assert not (installed / "synthvlm_dagster_tests").exists()


def test_a_project_can_be_started_from_it(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "SYNTHVLM"))}
    environment["PYTHONPATH"] = str(installed)
    for command in ("init", "check", "plan"):
        outcome = subprocess.run(
            [sys.executable, "-m", "synthvlm_dagster.cli", command],
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert str(CHECKOUT) not in outcome.stdout
    assert (tmp_path / ".dagster_home" / "dagster.yaml").read_text() == (CHECKOUT / "dagster.yaml").read_text()
