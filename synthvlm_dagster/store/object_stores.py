"""File systems behind URLs, with the patience that object stores need.

Everything can be set otherwise in fsspec's own configuration, in ~/.config/fsspec or the environment
(https://filesystem-spec.readthedocs.io/en/latest/features.html#configuration), for example
`FSSPEC_S3='{"config_kwargs": {"read_timeout": 120}}'`.
"""

from __future__ import annotations

import fsspec
from fsspec.config import conf

_S3_SETTINGS = {"connect_timeout": 10, "read_timeout": 30}
"""botocore's, in seconds; the second is the longest silence within an answer."""

_S3_TRIES = 3
"""s3fs's, each of which is five tries of botocore; where an answer's body has to be read, s3fs tries thrice thrice."""


def filesystem_at(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system that a URL or path names, and the path on it.

    A request to S3 that is answered by 5xx, or whose connection is refused, lost or silent, is made again with growing
    pauses: a write 15 times, which bridges about 25 seconds of refusals, a read up to 45 times. A store that takes
    requests and stays silent is given up after 8 minutes (write) or 23 (read).

    Raises:
        ImportError: the package for the URL's scheme is not installed.
        ValueError: there is no such scheme.
    """
    settings = conf.setdefault("s3", {})
    settings["config_kwargs"] = _S3_SETTINGS | settings.get("config_kwargs", {})
    filesystem, path = fsspec.core.url_to_fs(url)
    if "s3" in filesystem.protocol:
        import s3fs.core

        filesystem.retries = _S3_TRIES
        s3fs.core.set_custom_error_handler(_may_pass)
    return filesystem, path


def _may_pass(error: Exception) -> bool:
    """Whether S3 cannot be reached or failed on its own side; s3fs itself knows `SlowDown` and lost connections."""
    from botocore.exceptions import ConnectionError as BotoConnectionError

    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or isinstance(error, BotoConnectionError)
