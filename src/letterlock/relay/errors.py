"""What the delivery service refuses, and why."""

from typing import ClassVar

from letterlock.model.errors import Fault, OperationError
from letterlock.storage.errors import CommitRefused
from letterlock.storage.relay_commands import RelayReason


class RelayError(OperationError[RelayReason]):
    """A request of a device or tenant is refused; nothing of it was done.

    The facts are numbers that the protocol gives with the code.
    """

    fault: ClassVar[Fault] = Fault.PEER


class WrongEpochError(RelayError):
    """A commit for an epoch that is not the head.

    Args:
        current_epoch: the head.
        missing: the caller's mailbox sequences that hold the commits it lacks.
        current_era: of a group of RCS clients (RCC.16).
    """

    def __init__(self, current_epoch: int, missing: tuple[int, ...], current_era: int | None = None) -> None:
        eras = {} if current_era is None else {"current_era": current_era}
        super().__init__(RelayReason.WRONG_EPOCH, current_epoch=current_epoch, **eras)
        self.missing = missing


def of_writer(refusal: CommitRefused) -> Exception:
    """The writer's refusal as ours; one that the writer made for another reason stays what it is."""
    reason = refusal.facts.get("relay")
    if not isinstance(reason, RelayReason):
        return refusal
    return RelayError(reason, **{name: value for name, value in refusal.facts.items() if name != "relay"})
