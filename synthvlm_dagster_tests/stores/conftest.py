"""Servers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from synthvlm_dagster_tests.stores.postgres_server import PostgresServer, postgres_commands, postgres_server
from synthvlm_dagster_tests.stores.s3_server import S3Server, s3_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with an empty database."""
    pytest.importorskip("dagster_postgres", reason="the PostgreSQL tests need the extra postgres")
    commands = postgres_commands()
    if commands is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres_server(commands) as server:
        yield server


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    pytest.importorskip("moto", reason="the S3 tests need moto[server]")
    pytest.importorskip("s3fs", reason="the S3 tests need the extra s3")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server in this process's environment, and a client without botocore's long pauses."""
    import fsspec.config
    import s3fs

    for name, value in running_s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    impatient = {"config_kwargs": {"retries": {"max_attempts": 0}, "read_timeout": 1.0}}
    monkeypatch.setitem(fsspec.config.conf, "s3", impatient)
    s3fs.S3FileSystem.clear_instance_cache()
    running_s3.faults.clear()
    running_s3.requests.clear()
    yield running_s3
    running_s3.faults.clear()
    s3fs.S3FileSystem.clear_instance_cache()
