"""Credentials in texts that leave the machine or stand in the UI."""

from __future__ import annotations

import os
import re

MASK = "***"

_NAME = (
    r"[\w.-]*(?:token|secret|passw(?:or)?d|pwd|signature|credentials?|api[_-]?key|access[_-]?key|authorization)[\w.-]*"
)
_VALUE = r"(?:(?:bearer|basic)\s+)?[^\s&\"',;)}\]]+"
_PATTERNS = (
    # The user's part of a URL; a password may itself hold an @.
    (re.compile(r"(?P<kept>[a-z][a-z0-9+.-]*://)[^\s/?#'\"]+@", re.IGNORECASE), rf"\g<kept>{MASK}@"),
    # name=value, as in a query; and "name": "value", 'name': 'value', Name: value, as in settings and headers.
    (re.compile(rf"(?P<kept>\b(?:{_NAME}|sig|key)\s*=\s*[\"']?){_VALUE}", re.IGNORECASE), rf"\g<kept>{MASK}"),
    (re.compile(rf"(?P<kept>[\"']{_NAME}[\"']\s*:\s*[\"']?){_VALUE}", re.IGNORECASE), rf"\g<kept>{MASK}"),
    (
        re.compile(rf"(?P<kept>\b(?:password|secret|authorization|x-api-key)\s*:\s*){_VALUE}", re.IGNORECASE),
        rf"\g<kept>{MASK}",
    ),
    (re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\g<kept>{MASK}"),
    # Keys that are known by how they begin: AWS, Hugging Face, OpenAI, GitHub, Slack.
    (re.compile(r"\b(?:A[KS]IA[0-9A-Z]{12,}|hf_\w{8,}|sk-[\w-]{8,}|gh[a-z]_\w{8,}|xox[a-z]-[\w-]{8,})"), MASK),
)
_SECRET_VARIABLE = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|WEBHOOK", re.IGNORECASE)
# Shorter values, such as 1 or true, are no secrets and would mask half of every text.
_SHORTEST = 8


def masked(text: str) -> str:
    """The text with `***` in the place of credentials, so that it may be shown to others.

    Masked are users and passwords in URLs, the values of what is called a token, key, password or signature, keys that
    are known by their beginning, and whatever this process has in environment variables with such names.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_VARIABLE.search(name):
            text = text.replace(value, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
