"""Making the desk for receipts that this server checks: its worker, and the route that leads to it."""

import os
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Final

from letterlock.custody.message_ids import MessageIds
from letterlock.faces.http.receipts import receipt_routes
from letterlock.faces.http.routes import Route
from letterlock.relay.ports import Committer
from letterlock.relay.receipts import ReceiptDesk
from letterlock.storage.sqlite.reader import Readers
from letterlock.storage.sqlite.receipt_reads import ReceiptReads
from letterlock.watch.metrics import Metrics


class SharedIds:
    """The store's keys of message ids, for the event loop and the readers' threads."""

    def __init__(self, key: bytes) -> None:
        self._ids: Final = MessageIds(key)
        self._one_at_a_time: Final = Lock()

    def key_of(self, message: bytes) -> bytes:
        """The store's key of a message id."""
        with self._one_at_a_time:
            return self._ids.inside(message)


def open_receipts(
    committer: Committer,
    readers: Readers,
    id_key: bytes,
    environment: str,
    metrics: Metrics,
    closers: list[Callable[[], Awaitable[None] | None]],
) -> tuple[Route, ...]:
    """Makes it and starts the worker, whose end is added to ``closers``."""
    ids = SharedIds(id_key)
    desk = ReceiptDesk(
        committer, ReceiptReads(readers, ids.key_of), ids.key_of, id_key, environment, os.urandom, metrics.receipts
    )
    desk.start()
    closers.append(desk.stop)
    return receipt_routes(desk)
