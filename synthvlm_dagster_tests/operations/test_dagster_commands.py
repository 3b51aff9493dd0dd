"""Dagster's own commands in a checkout: `dg`, and `dagster` with and without workspace.yaml."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthvlm_dagster.store.storage import Storage

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(not (CHECKOUT / "pyproject.toml").is_file(), reason="needs a checkout")


def type_command(tmp_path, *words):
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_bytes((CHECKOUT / "dagster.yaml").read_bytes())
    environment = os.environ | {"DAGSTER_HOME": str(home), "SYNTHVLM_STORAGE": str(tmp_path / "storage")}
    environment.pop("SYNTHVLM_RECIPE", None)
    command = [str(BIN / words[0]), *words[1:]]
    outcome = subprocess.run(
        command, cwd=CHECKOUT, env=environment, text=True, capture_output=True, timeout=120, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout + outcome.stderr


@pytest.mark.parametrize("target", [(), ("-w", "workspace.yaml")])
def test_pyproject_and_workspace_name_the_same_code_location(tmp_path, target):
    output = type_command(tmp_path, "dagster", "definitions", "validate", *target)
    assert "Validation successful for code location synthvlm_dagster." in output


@pytest.mark.skipif(not (BIN / "dg").exists(), reason="needs dagster-dg-cli")
def test_dg_checks_lists_and_launches(tmp_path):
    assert "All definitions loaded successfully" in type_command(tmp_path, "dg", "check", "defs")
    assert "generated_images" in type_command(tmp_path, "dg", "list", "defs", "--json")
    type_command(tmp_path, "dg", "launch", "--assets", "raw_captions")
    assert Storage(str(tmp_path / "storage" / "demo")).has_table("captions/raw")
