"""The port of the use cases to the writer."""

from typing import Any, Protocol


class Writer(Protocol):
    """The writer's queue."""

    async def run(self, command: Any, *, tenant: int = 0, size: int = 0) -> Any:
        """Queues one command and awaits its outcome.

        Raises:
            CommitRefused: the writer did not apply it.
            StorageError: the store failed, or takes no more.
        """
        ...
