"""The errors a user can meet: each names what is wrong, where, and what to do about it."""


class SynthVLMError(Exception):
    """Base of every error whose cause lies in the input, the recipe or the store, not in this program.

    Messages quote what was found in files of any origin. Of that, what cannot be printed is shown as escapes:
    control characters, which a terminal would obey, signs that turn text around, halves of surrogate pairs.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class RecipeError(SynthVLMError):
    """A recipe cannot be read, or one of its fields has an impossible value."""


class CaptionSourceError(SynthVLMError):
    """A caption file is missing, unreadable, or not in the format the recipe says."""


class StorageError(SynthVLMError):
    """A table or file of the store is missing or cannot be read or written."""


class ModelError(SynthVLMError):
    """A model folder or hub repository cannot be loaded, or is not of the kind the recipe needs."""


class ImageError(SynthVLMError):
    """An image cannot be decoded, or has a shape or type that a measure is not defined for."""


class DamagedImagesError(ImageError, StorageError):
    """Images of the store cannot be read or decoded.

    Attributes:
        shard: in which they are.
        image_id: the one that cannot be decoded; None where a whole file cannot be read.
    """

    def __init__(self, message: str, shard: str, image_id: str | None = None) -> None:
        super().__init__(
            f"{message}. `synthvlm run`, or materializing generated_images[{shard}], makes what is damaged again"
        )
        self.shard = shard
        self.image_id = image_id


class IncompleteShardsError(SynthVLMError):
    """A step needs every shard of an upstream table, and some are missing or incomplete."""


class SelectionError(SynthVLMError):
    """The scored pool cannot give the selection the recipe asks for."""


class EndpointError(SynthVLMError):
    """A language model's endpoint cannot be reached, refuses, or gives no answers that can be used."""


def error_reason(error: BaseException) -> str:
    """What an error says, and what the error at its root says, in one line."""
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    sentences = dict.fromkeys(" ".join(str(part).split()).rstrip(".") for part in (error, root))
    return ": ".join(sentence for sentence in sentences if sentence)


def printable(text: str) -> str:
    """A text with escapes in place of what cannot be printed, but for line ends and tabs."""
    return "".join(map(_shown, text))


def _shown(sign: str) -> str:
    return sign if sign in "\n\t" or sign.isprintable() else sign.encode("unicode_escape").decode()
