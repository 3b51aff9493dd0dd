"""What a model in memory goes by: the files that it was loaded from may become others while a run works with it."""

from __future__ import annotations

from synthvlm_dagster.errors import ModelError


def require_unchanged(what: str, before: object, after: object) -> None:
    """Refuse a model whose files were replaced while it was loaded: which of them it holds is not known.

    Args:
        what: the model, for the error.
        before: the identity of its files when it was begun to be loaded.
        after: the same, once it is in memory.

    Raises:
        ModelError: they differ.
    """
    if before != after:
        raise ModelError(
            f"{what}: its files have been changed while this run works with them. Run again: what is made then is of "
            "the files as they are; what was made before is kept"
        )


class HeldModels:
    """Models that a run loads once and uses for many shards, each of which is stored under their names.

    A shard that was looked at when the files had become others would be made by the models of before, under the names
    of those of now.
    """

    def __init__(self) -> None:
        self._names: object = None

    def require(self, what: str, names: object, now: object) -> None:
        """Refuse to go on unless the models in memory are those of a shard's names.

        Args:
            what: the models, for the error.
            names: under which the shard is stored, as they were when it was looked at.
            now: the same, asked after the models have been loaded.

        Raises:
            ModelError: files of the models were changed after the models were loaded, or meanwhile.
        """
        if self._names is None:
            self._names = names
        require_unchanged(what, names, now)
        require_unchanged(what, self._names, names)
