"""Messages to a webhook."""

from __future__ import annotations

import logging
import os

import requests

WEBHOOK_VARIABLE = "SYNTHVLM_WEBHOOK_URL"
"""Environment variable with the URL that messages are posted to. Such URLs are secrets, so no recipe holds one."""

_SECONDS_TO_ANSWER = 10


def notify(title: str, text: str) -> None:
    """Post a message to the webhook, if there is one, as the JSON object {"title": …, "text": …}.

    The text begins with the title, because Slack and its kin show the field `text` alone. A webhook that does not
    take the message costs a warning in the log, never the work that the message is about.

    Args:
        title: what happened, in one line.
        text: the details, as plain text.
    """
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return
    try:
        answer = requests.post(url, json={"title": title, "text": f"{title}\n{text}"}, timeout=_SECONDS_TO_ANSWER)
        answer.raise_for_status()
    except requests.RequestException as error:
        # The error's own words would show the URL.
        logging.getLogger(__name__).warning(
            "the webhook of $%s did not take the message %r: %s", WEBHOOK_VARIABLE, title, type(error).__name__
        )
