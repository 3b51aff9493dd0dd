"""Credentials have no place in URLs: these stand in recipes, logs, the event log and what is exported."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    "s3a": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account",
    "gcs": "GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service account",
    **dict.fromkeys(
        ("az", "abfs", "abfss", "adl"),
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    ),
    "hf": "HF_TOKEN",
    **dict.fromkeys(
        ("http", "https"),
        'FSSPEC_HTTPS to {"client_kwargs": {"headers": {"Authorization": "Bearer …"}}}, or for a judge the variable '
        "that its api_key_variable names,",
    ),
}
"""Scheme → the environment variables that its file system reads."""

_SECRET_ENDINGS = (
    "token",
    "secret",
    "password",
    "passwd",
    "pwd",
    "signature",
    "credential",
    "credentials",
    "apikey",
    "accesskey",
    "accesskeyid",
    "jwt",
)
_SECRET_NAMES = frozenset({"sig", "sas", "auth", "authorization"})

_ALONE_OR_WITH_PORT = re.compile(r"[^:@]*(:\d*)?|\[[0-9a-fA-F:.]*\](:\d*)?|arn:[^@]*")
_USER = re.compile(r"[^:@]+@")
_USER_IS_NO_SECRET = frozenset({"az", "abfs", "abfss", "adl", "ftp", "hdfs", "sftp", "smb", "ssh"})
"""Schemes that write a user or container before the host."""


def credentials_in(url: str) -> str | None:
    """Why a URL may not be used: it has a password, key, token or signature in it.

    Args:
        url: of fsspec, chained ones such as `zip://*.json::https://…` too. Anything else has no credentials.

    Returns:
        What is wrong and what to do, without the credentials; None when nothing is wrong.
    """
    for part in url.split("::"):
        scheme, found, rest = part.partition("://")
        if not found:
            continue
        host, query = re.split(r"[/?#]", rest, maxsplit=1)[0], rest.partition("?")[2].partition("#")[0]
        if scheme in _USER_IS_NO_SECRET:
            host = _USER.sub("", host, count=1)
        if not _ALONE_OR_WITH_PORT.fullmatch(host):
            what = "credentials before the host"
        elif names := [name for name, _ in parse_qsl(query) if _is_secret(name)]:
            what = f"credentials in its query ({', '.join(names)})"
        else:
            continue
        variables = _VARIABLES.get(scheme, f"FSSPEC_{scheme.upper()}_PASSWORD")
        return f"a URL of {scheme}:// has {what}. Leave them out, and set {variables} in the environment"
    return None


def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return lowered in _SECRET_NAMES or lowered.replace("-", "").replace("_", "").endswith(_SECRET_ENDINGS)
