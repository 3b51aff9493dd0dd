import pytest

from synthvlm_dagster_tests.end_to_end.project import Project, make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return make_project(tmp_path_factory.mktemp("project") / "small")
