"""The project's Dagster instance, with clear errors where its database or settings fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DBAPIError

from synthvlm_dagster.errors import SynthVLMError


class InstanceError(SynthVLMError):
    """Dagster's own database cannot be reached, or the settings of the instance cannot be used."""


@contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of $DAGSTER_HOME.

    Dagster itself bridges a few seconds without its database; after that what it had to record is lost, and the work
    stops. The tables hold all that was made, so that running again makes and records what is missing.

    Args:
        home: $DAGSTER_HOME, for messages.

    Raises:
        InstanceError: the database or a package for it cannot be reached, at the start or while the instance is in
            use; or a setting in dagster.yaml, such as an environment variable, is missing.
    """
    settings = home / "dagster.yaml"
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except SynthVLMError:
        raise
    except dg.DagsterInvalidConfigError as error:
        reasons = "; ".join(_in_short(mistake.message) for mistake in error.errors)
        raise InstanceError(f"{settings}: {reasons}") from error
    except Exception as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, DBAPIError):
                raise InstanceError(
                    f"Dagster's database, named in {settings}, cannot be used: {_in_short(str(cause.orig))}. Run again "
                    "when it can be reached: what was made is kept, and only what is missing is made"
                ) from error
        if any(isinstance(cause, ModuleNotFoundError) and cause.name == "dagster_postgres" for cause in causes):
            raise InstanceError(
                f"{settings} asks for PostgreSQL, which needs another package: pip install 'synthvlm_dagster[postgres]'"
            ) from error
        raise


def _in_short(message: str) -> str:
    """The sentence of Dagster's and psycopg2's messages that tells; the rest is where in their code it came up."""
    return (message.partition("PostProcessingError: ")[2] or message).strip().partition("\n")[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it, in order."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
