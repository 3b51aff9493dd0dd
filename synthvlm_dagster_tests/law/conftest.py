from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.instant import install
from synthvlm_dagster_tests.law.project import Ran
from synthvlm_dagster_tests.law.stores import Contents

Fresh = dict[str, tuple[Ran, Contents]]


@pytest.fixture(scope="module")
def instant_models() -> Iterator[None]:
    """Models that compute nothing stand in the place of the real ones, for these tests alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch)
        yield


@pytest.fixture(scope="session")
def fresh() -> Fresh:
    """What runs into empty stores have left."""
    return {}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("law")


@pytest.fixture(scope="module")
def begin_history(instant_models, fresh: Fresh, folder: Path) -> Callable[[], History]:
    """Begins a history, always in the same place, so that what is fresh need be made only once of equal recipes."""
    return lambda: History(folder, fresh)
