"""Messages to a webhook."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Mapping

from synthvlm_dagster.operations.notifications.secrets import masked

WEBHOOK_VARIABLE = "SYNTHVLM_WEBHOOK_URL"
"""Environment variable with the URL that messages are posted to. Such URLs are secrets, so no recipe holds one."""

SECONDS_IN_ALL = 10.0
"""The most that `notify` takes, whatever the other side does."""

_TRIES = 2
_SECONDS_TO_CONNECT = 2.0
_SECONDS_TO_ANSWER = 3.0
_SECONDS_BETWEEN_TRIES = 1.0
_LONGEST_TEXT = 8_000
_EVERYONE = re.compile(r"(?<=<)(?=!)|(?<=@)(?=(?:channel|here|everyone|all)\b)")


def notify(title: str, text: str, facts: Mapping[str, str] | None = None) -> None:
    """Post a message to the webhook, if there is one, as the JSON object {"title": …, "text": …, "fields": {…}}.

    The text begins with the title, because Slack, Mattermost and their kin show the field `text` alone. Credentials are
    masked, and nobody is addressed, whatever the text holds. A webhook that does not take the message, at once or in a
    second try, costs a warning in the log and ten seconds at most, never the work that the message is about.

    Args:
        title: what happened, in one line.
        text: the details, as plain text; what is beyond 8,000 characters is cut off.
        facts: the same for machines: name → value.
    """
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return
    title, text = _harmless(title), _harmless(text)
    fields = {name: _harmless(value) for name, value in (facts or {}).items()}
    message = {"title": title, "text": f"{title}\n{text}", "fields": fields}
    # A server that sends its answer byte by byte outlives every time limit of requests.
    poster = threading.Thread(target=_post, args=(url, message), daemon=True)
    poster.start()
    poster.join(SECONDS_IN_ALL)
    if poster.is_alive():
        _warn(title, f"no answer within {SECONDS_IN_ALL:g} s")


def _post(url: str, message: Mapping[str, object]) -> None:
    import requests

    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        try:
            answer = requests.post(
                url,
                json=message,
                timeout=(_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER),
                # What is redirected arrives elsewhere as a GET without the message.
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # The error's own words would show the URL.
            problem = type(error).__name__
            continue
        if 200 <= answer.status_code < 300:
            return
        problem = f"status {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    _warn(str(message["title"]), problem)


def _harmless(text: str) -> str:
    """The text without credentials, and without the marks that alert a whole channel."""
    # Half a credential would not be known as one: masked first, then cut.
    text = masked(text)
    return _EVERYONE.sub("\u200b", text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…")


def _warn(title: str, problem: str) -> None:
    logging.getLogger(__name__).warning(
        "the webhook of $%s did not take the message %r: %s", WEBHOOK_VARIABLE, title, problem
    )
