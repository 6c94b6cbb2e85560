"""How operations end, in the words and numbers that commands and screens share."""

from __future__ import annotations

from gpudash import errors
from gpudash.errors import ExitCode, GpudashError
from gpudash.model.operation import Operation, Stage

ERROR = "error"
"""Parameter of a failed operation: the class of what went wrong."""
NOT_LAUNCHED = "NotLaunched"
"""Its value where two good listings proved that a launch did not happen."""


def is_proved(operation: Operation) -> bool:
    """It was read back and is true."""
    return operation.stage is Stage.PROVED


def exit_code(operation: Operation) -> ExitCode:
    """What a command that asked for it should end with."""
    if operation.stage is Stage.PROVED:
        return ExitCode.OK
    if operation.stage.is_open:
        return ExitCode.UNPROVED
    if operation.stage is Stage.CANCELLED:
        return ExitCode.FAILED
    return kind_of(operation).exit_code


def error_of(operation: Operation, text: str) -> GpudashError:
    """The error that a failed operation ended with, in other words."""
    return kind_of(operation)(text)


def kind_of(operation: Operation) -> type[GpudashError]:
    """The class of what went wrong last."""
    kind = getattr(errors, str(operation.params.get(ERROR)), None)
    return kind if isinstance(kind, type) and issubclass(kind, GpudashError) else errors.ProviderError
