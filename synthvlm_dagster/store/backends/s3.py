"""Amazon S3, and the stores that speak its language."""

from __future__ import annotations

from typing import Any

from synthvlm_dagster.store.backend import StorageBackend

_TRIES = 3
"""s3fs's, each of which is five tries of botocore; where an answer's body has to be read, s3fs tries thrice thrice."""


def _be_patient(filesystem: Any) -> None:
    """Ask again where S3 answers 5xx, refuses a connection, loses one or is silent, with growing pauses.

    A write is tried 15 times, which bridges about 25 seconds of refusals, a read up to 45 times. A store that takes
    requests and stays silent is given up after 8 minutes (write) or 23 (read).
    """
    import s3fs.core

    filesystem.retries = _TRIES
    s3fs.core.set_custom_error_handler(_may_pass)


def _may_pass(error: Exception) -> bool:
    """Whether S3 cannot be reached or failed on its own side; s3fs itself knows `SlowDown` and lost connections."""
    from botocore.exceptions import ConnectionError as BotoConnectionError

    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or isinstance(error, BotoConnectionError)


BACKEND = StorageBackend(
    name="S3",
    schemes=("s3", "s3a"),
    credentials="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    extra="s3",
    # botocore's, in seconds; the second is the longest silence within an answer.
    options={"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}},
    prepare=_be_patient,
)
