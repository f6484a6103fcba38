"""Media to and from the relay: in pieces, and again from where it stopped when the connection is lost."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar, final

import msgspec

from letterlock.client.errors import MediaError, MediaReason, RelayError, RelayReason
from letterlock.client.media import open_medium, seal_medium
from letterlock.client.payload import KEY_BYTES, Media, encode
from letterlock.client.relay import AttachmentAnswer, PieceAnswer
from letterlock.client.session import Session
from letterlock.client.state import DeviceState
from letterlock.client.transport import backoff
from letterlock.model.ids import ID_BYTES, AttachmentId, GroupRef
from letterlock.wire.attachment import MAX_CONTENT, PIECE, blob_size

TRIES: Final = 6
"""In a row without progress; with full jitter about half a minute."""
_PASSING: Final = frozenset({RelayReason.UNREACHABLE, RelayReason.OVERLOADED, RelayReason.SERVER})

T = TypeVar("T")
A = TypeVar("A", bound=msgspec.Struct)


@final
class Transfers:
    """Uploads, downloads, releases.

    Args:
        state: the device.
        session: logs in when needed.
        sleep: waits between tries.
    """

    def __init__(
        self, state: DeviceState, session: Session, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._state: Final = state
        self._session: Final = session
        self._sleep: Final = sleep

    async def upload(self, ref: GroupRef, content: bytes, media_type: str, name: str) -> Media:
        """See :meth:`letterlock.client.device.Device.upload`."""
        self._state.require_floor(self._state.live(ref))
        key, attachment = os.urandom(KEY_BYTES), AttachmentId(os.urandom(ID_BYTES))
        sealed = await asyncio.to_thread(seal_medium, content, key, attachment)
        media = Media(media_type, name, len(content), str(attachment), key, sealed.digest)
        encode(media)
        path = f"/v1/groups/{ref}/attachments/{attachment}"
        size: dict[str, object] = {"size": len(sealed.blob)}
        received = (await self._try(partial(self._call, "PUT", path, AttachmentAnswer, size))).received
        while received < len(sealed.blob):
            received = await self._try(partial(self._append, attachment, sealed.blob, received))
        return media

    async def _append(self, attachment: AttachmentId, blob: bytes, at: int) -> int:
        body: dict[str, object] = {"offset": at, "piece": blob[at : at + PIECE]}
        answer = await self._call("PATCH", f"/v1/attachments/{attachment}", AttachmentAnswer, body)
        if not at < answer.received <= len(blob):
            raise RelayError(RelayReason.BAD_ANSWER)
        return answer.received

    async def download(self, media: Media) -> bytes:
        """See :meth:`letterlock.client.device.Device.download`."""
        attachment = _attachment(media)
        size = blob_size(media.size) if 0 < media.size <= MAX_CONTENT else 0
        blob = bytearray()
        while len(blob) < size:
            found = await self._try(partial(self._piece, attachment, len(blob)))
            if found.size != size or found.offset != len(blob) or not 0 < len(found.piece) <= size - len(blob):
                raise MediaError(MediaReason.CUT_SHORT, size=len(blob))
            blob += found.piece
        return await asyncio.to_thread(open_medium, bytes(blob), media.key, attachment, media.digest, media.size)

    async def _piece(self, attachment: AttachmentId, at: int) -> PieceAnswer:
        return await self._call("GET", f"/v1/attachments/{attachment}?offset={at}", PieceAnswer)

    async def release(self, media: Media) -> None:
        """See :meth:`letterlock.client.device.Device.release`."""
        path = f"/v1/attachments/{_attachment(media)}/release"
        relay = await self._session.relay()
        await relay.order("POST", path)

    async def _call(self, method: str, path: str, kind: type[A], body: dict[str, object] | None = None) -> A:
        # The session may end during a long transfer, so each call asks for it anew.
        return await (await self._session.relay()).call(method, path, kind, body)

    async def _try(self, step: Callable[[], Awaitable[T]]) -> T:
        for failures in range(TRIES):
            try:
                return await step()
            except RelayError as error:
                if error.reason not in _PASSING or failures == TRIES - 1:
                    raise
                await self._sleep(backoff(failures, random.random))
        raise AssertionError("the last try returned or raised")


def _attachment(media: Media) -> AttachmentId:
    try:
        return AttachmentId.parse(media.locator)
    except ValueError:
        raise MediaError(MediaReason.BAD_LOCATOR) from None
