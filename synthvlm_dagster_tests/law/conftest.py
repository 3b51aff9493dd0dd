from collections.abc import Callable, Iterator

import pytest

from synthvlm_dagster_tests.law.history import History
from synthvlm_dagster_tests.law.instant import install
from synthvlm_dagster_tests.law.project import Ran
from synthvlm_dagster_tests.law.stores import Contents


@pytest.fixture(scope="session")
def instant_models() -> Iterator[None]:
    """Models that compute nothing stand in the place of the real ones."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch)
        yield


@pytest.fixture(scope="session")
def begin_history(instant_models, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], History]:
    """Begins a history, always in the same place, so that what is fresh need be made only once of equal recipes."""
    folder = tmp_path_factory.mktemp("law")
    fresh: dict[str, tuple[Ran, Contents]] = {}
    return lambda: History(folder, fresh)
