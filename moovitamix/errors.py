"""The errors people see. Each type says who must act; each message ends with what to do."""


class MoovitaMixError(Exception):
    """Base of every error that MoovitaMix raises on purpose: shown as one line, without a trace."""


class SettingsError(MoovitaMixError):
    """You configured it wrong: change an environment variable or an option."""


class SourceUnavailable(MoovitaMixError):
    """The source does not answer, or not yet: come back later."""


class SourceContractError(MoovitaMixError):
    """The source answers with something other than its contract: its owner must act."""


class StoreUnavailable(MoovitaMixError):
    """Postgres, Redis or the lake does not answer: start it, or correct its address."""


class NothingToDo(MoovitaMixError):
    """What was asked for does not exist yet: run what makes it first."""
