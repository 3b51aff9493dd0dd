"""What the terminal says of a step that failed."""

from typing import Any

import dagster as dg
import pytest

from synthvlm_dagster.errors import DamagedImagesError
from synthvlm_dagster.operations.terminal_log import terminal_log


def test_an_error_for_people_is_shown_and_not_what_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    @dg.op
    def show() -> None:
        try:
            raise OSError("broken data stream")
        except OSError as error:
            raise DamagedImagesError("image 12-00 of shard 0001: cannot be decoded", "0001", "12-00") from error

    @dg.job(logger_defs={"console": terminal_log})
    def job() -> None:
        show()

    settings: dict[str, Any] = {"loggers": {"console": {}}}
    assert not job.execute_in_process(run_config=settings, raise_on_error=False).success
    lines = [line for line in capsys.readouterr().err.splitlines() if 'step "show" failed' in line]
    assert len(lines) == 1
    assert "failed. DamagedImagesError: image 12-00 of shard 0001: cannot be decoded" in lines[0]
    assert "broken data stream" not in lines[0]
