"""Submits any bytes over a device's stream: what a dishonest app could do beside its SDK."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from letterlock.model.ids import GroupRef
from letterlock.wire import stream

WINDOW: Final = 64
MAX_SUBMIT: Final = 50
"""Submissions of a frame, far below what the credit and the frame's size allow."""


class StreamSubmitter:
    """One stream of one device; what is delivered on it is not acknowledged.

    Args:
        url: the gateway's.
        token: a session token.
        applied: the device's cursor.
        state_counter: the device's own.
    """

    def __init__(self, url: str, token: str, applied: int, state_counter: int) -> None:
        self._url = url.replace("http", "ws", 1) + "/v1/stream"
        self._token = token
        self._applied = applied
        self._state_counter = state_counter
        self._reference = 0
        self._socket: ClientConnection

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self._url,
            subprotocols=[Subprotocol(stream.SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            max_size=stream.MAX_FRAME,
            proxy=None,
        )
        await self._socket.send(stream.encode_hello(self._applied, WINDOW, self._state_counter))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def submit(self, group: GroupRef, messages: Sequence[tuple[bytes, bytes]]) -> list[stream.Result]:
        """Submits references and bodies; the answers in their order."""
        found: list[stream.Result] = []
        for start in range(0, len(messages), MAX_SUBMIT):
            part = [
                stream.Submission(stream.TargetKind.GROUP, group.value, reference, body)
                for reference, body in messages[start : start + MAX_SUBMIT]
            ]
            await self._socket.send(stream.encode_submit(self._reference, part, self._state_counter))
            self._reference += len(part)
            wanted = start + len(part)
            while len(found) < wanted:
                data = await self._socket.recv()
                frame = stream.decode_server(data if isinstance(data, bytes) else data.encode())
                if isinstance(frame, stream.Results):
                    found.extend(frame.items)
        return found
