"""Credentials have no place in URLs: these stand in recipes, logs, the event log and what is exported."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from synthvlm_dagster.store.backends import backend_of

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
_NAMES_USER = frozenset({"ftp", "hdfs", "sftp", "smb", "ssh"})
"""Further schemes that write a user before the host."""


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
        backend = backend_of(scheme)
        if backend.names_user if backend else scheme in _NAMES_USER:
            host = _USER.sub("", host, count=1)
        if not _ALONE_OR_WITH_PORT.fullmatch(host):
            what = "credentials before the host"
        elif names := [name for name, _ in parse_qsl(query) if _is_secret(name)]:
            what = f"credentials in its query ({', '.join(names)})"
        else:
            continue
        variables = (backend and backend.credentials) or f"FSSPEC_{scheme.upper()}_PASSWORD"
        return f"a URL of {scheme}:// has {what}. Leave them out, and set {variables} in the environment"
    return None


def _is_secret(name: str) -> bool:
    lowered = name.lower()
    return lowered in _SECRET_NAMES or lowered.replace("-", "").replace("_", "").endswith(_SECRET_ENDINGS)
