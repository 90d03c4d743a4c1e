"""The errors people see. Each type says who must act; each message ends with what to do."""

from collections.abc import Mapping


class MoovitaMixError(Exception):
    """Base of every error that MoovitaMix raises on purpose: shown as one line, without a trace."""


class SettingsError(MoovitaMixError):
    """You configured it wrong: change an environment variable or an option."""


class SourceUnavailable(MoovitaMixError):
    """The source does not answer, or not yet: come back later."""


class SourceContractError(MoovitaMixError):
    """The source answers with something other than its contract: its owner must act."""


class SourceStartedAnew(SourceContractError):
    """The source is another world than the one in the lake: somebody must decide.

    Args:
        message: What to do.
        left: By endpoint, how many records of the last pull there were, and are there still.
    """

    def __init__(self, message: str, left: Mapping[str, tuple[int, int]]) -> None:
        super().__init__(message)
        self.left = left


class StoreUnavailable(MoovitaMixError):
    """Postgres, Redis or the lake does not answer: start it, or correct its address."""


class NothingToDo(MoovitaMixError):
    """What was asked for does not exist yet: run what makes it first."""
