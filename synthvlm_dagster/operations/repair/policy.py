"""When a shard that failed is repaired again, and when a person has to look at it instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from synthvlm_dagster.fingerprint import fingerprint
from synthvlm_dagster.recipe.operations.repair import Repair


class FailedShard(NamedTuple):
    """A shard that Dagster shows as failed, and what has been tried since it was last whole."""

    shard: str
    assets: tuple[str, ...]
    """Those of its assets that failed, upstream first."""
    failed_at: float
    """End of the last run that was to make it, in seconds since 1970."""
    error: str
    attempts: int
    """Repairs that were launched by themselves since its failed assets were last made."""


class Decision(NamedTuple):
    """Each failed shard in one of three places."""

    due: list[FailedShard]
    waiting: dict[str, float]
    """Of the others that may be tried again: when, in seconds since 1970, by shard."""
    given_up: list[FailedShard]


def due_at(failed: FailedShard, settings: Repair) -> float | None:
    """When a shard may be repaired, in seconds since 1970; None when it has used up its attempts.

    The pause before the first attempt is `first_pause_minutes`, and each one is `pause_factor` times longer than the
    one before. It is counted from the shard's last failure.
    """
    if failed.attempts >= settings.max_attempts:
        return None
    return failed.failed_at + 60 * settings.first_pause_minutes * settings.pause_factor**failed.attempts


def decide(failed: Iterable[FailedShard], settings: Repair, now: float) -> Decision:
    """Which failed shards are repaired now, which later, and which are left to a person.

    Args:
        failed: no shard twice.
        settings: of the recipe.
        now: seconds since 1970.
    """
    decision = Decision([], {}, [])
    for one in failed:
        when = due_at(one, settings)
        if when is None:
            decision.given_up.append(one)
        elif when > now:
            decision.waiting[one.shard] = when
        else:
            decision.due.append(one)
    return decision


def run_key(due: Iterable[FailedShard]) -> str:
    """Name of the repair of these shards at their present number of attempts.

    Dagster launches one run for a key: a daemon that is restarted after it has asked for a repair, and asks again
    because the shards are as they were, does not get a second one.
    """
    return "repair-" + fingerprint(sorted((one.shard, one.attempts, one.failed_at) for one in due))


def message(given_up: Iterable[FailedShard], attempts: int) -> tuple[str, str]:
    """Title and text for the person who has to look at shards that stay broken.

    Args:
        given_up: at least one shard.
        attempts: how often each was repaired in vain.
    """
    shards = sorted(given_up)
    names = ", ".join(one.shard for one in shards)
    lines = [f"{one.shard} ({', '.join(one.assets)}): {one.error}" for one in shards]
    title = f"{len(shards)} shard{'s' if len(shards) > 1 else ''} could not be repaired: {names}"
    tried = f"Each was repaired {attempts} times in vain" if attempts else "None is repaired by itself"
    advice = (
        f"{tried} and is now left alone. Mend the cause, then launch the job repair_shards; with an empty "
        "configuration it takes every shard that failed. What is finished of them is kept."
    )
    return title, "\n".join([*lines, advice])
