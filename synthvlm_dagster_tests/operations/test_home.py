import os

import pytest

from synthvlm_dagster.operations.home import PROJECT_FILES, lay_out_dagster_home, project_file, set_dagster_home


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")


def test_the_home_is_beside_the_nearest_dagster_yaml(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    inside = tmp_path / "some" / "folder"
    inside.mkdir(parents=True)
    home = set_dagster_home(inside)
    assert home == tmp_path / ".dagster_home"
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert not home.exists()
    lay_out_dagster_home(home)
    assert (home / "dagster.yaml").resolve() == tmp_path / "dagster.yaml"


def test_without_a_project_the_packages_settings_are_used(tmp_path):
    home = set_dagster_home(tmp_path)
    assert home == tmp_path / ".dagster_home"
    lay_out_dagster_home(home)
    assert (home / "dagster.yaml").read_text() == project_file("dagster.yaml").read_text()


def test_a_home_that_is_set_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "mine"))
    assert set_dagster_home(tmp_path) == tmp_path / "mine"
    assert list(tmp_path.iterdir()) == []


def test_the_package_brings_its_project_files():
    assert all(project_file(name).is_file() for name in PROJECT_FILES)
