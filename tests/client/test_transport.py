"""The stream's client against a server that speaks the same frames and misbehaves on request."""

import asyncio
import os
from collections.abc import Sequence

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.transport import BACKOFF_LIMIT_S, DeviceStream, Sending, StreamEnd, backoff
from letterlock.wire import stream

GROUP = bytes(16)


class Handler:
    """A device without MLS: a cursor, what came, an outbox."""

    def __init__(self, sends: int = 0) -> None:
        self.at = 0
        self.came: list[bytes] = []
        self.outbox = [
            Sending(n, stream.Submission(stream.TargetKind.GROUP, GROUP, os.urandom(16), b"body %d" % n))
            for n in range(1, sends + 1)
        ]
        self.logins: list[bool] = []
        self.counted = 0
        self.old = False
        self.enough = asyncio.Event()

    async def token(self, renew: bool) -> str:
        self.logins.append(renew)
        if self.old and renew:
            raise DeviceError(DeviceReason.STATE_ROLLED_BACK)
        return "fresh" if renew else "stale"

    def cursor(self) -> int:
        return self.at

    def state_counter(self) -> int:
        self.counted += 1
        return self.counted

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        assert first_seq == self.at + 1
        self.came += [item.body for item in items]
        self.at += len(items)
        return self.at

    def waiting(self, after: int, limit: int) -> list[Sending]:
        return [entry for entry in self.outbox if entry.position > after][:limit]

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        for sending, result in results:
            assert result.status in {stream.ResultStatus.ACCEPTED, stream.ResultStatus.DUPLICATE}
            self.outbox.remove(sending)
        if not self.outbox:
            self.enough.set()


class Server:
    """A mailbox of numbered bodies; submissions are taken once by their reference."""

    def __init__(self, mailbox: int = 0, credit: int = 3, drop_after: int = 0, close_with: Sequence[int] = ()) -> None:
        self.mailbox = [b"item %d" % n for n in range(1, mailbox + 1)]
        self.credit = credit
        self.drop_after = drop_after
        self.close_with = list(close_with)
        self.taken: dict[bytes, bytes] = {}
        self.hellos: list[int] = []
        self.counters: list[int] = []
        self.acked = 0
        self.flying = 0
        self.most_flying = 0
        self.all_acked = asyncio.Event()
        self.headers: list[str] = []

    async def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(socket.request.headers["Authorization"])
        if self.close_with:
            await socket.close(self.close_with.pop(0))
            return
        try:
            await self._serve(socket)
        except ConnectionClosed:
            return

    async def _serve(self, socket: ServerConnection) -> None:
        hello = stream.decode_client(await self._bytes(socket))
        assert isinstance(hello, stream.Hello)
        self.hellos.append(hello.applied)
        self.counters.append(hello.state_counter)
        await socket.send(stream.encode_welcome(len(self.mailbox), self.credit))
        for sent, number in enumerate(range(hello.applied, len(self.mailbox)), 1):
            body = self.mailbox[number]
            head = stream.encode_delivery_item(stream.ItemKind.APPLICATION, bytes(16), GROUP, 1, 0, 0, 0, len(body))
            await socket.send(stream.encode_deliver(number + 1, [head, body], 1))
            if self.drop_after and sent == self.drop_after:
                self.drop_after = 0
                socket.transport.abort()
                return
        while True:
            frame = stream.decode_client(await self._bytes(socket))
            self.counters.append(frame.state_counter)
            if isinstance(frame, stream.Ack):
                self.acked = frame.applied
                if self.acked == len(self.mailbox):
                    self.all_acked.set()
            elif isinstance(frame, stream.Submit):
                self.most_flying = max(self.most_flying, len(frame.items))
                assert len(frame.items) <= self.credit
                answers = []
                for item in frame.items:
                    known = item.message_ref in self.taken
                    self.taken[item.message_ref] = item.body
                    status = stream.ResultStatus.DUPLICATE if known else stream.ResultStatus.ACCEPTED
                    answers.append((int(status), bytes(16), bytes(32)))
                await socket.send(stream.encode_results(frame.first_ref, answers))

    @staticmethod
    async def _bytes(socket: ServerConnection) -> bytes:
        data = await socket.recv()
        assert isinstance(data, bytes)
        return data


async def run(server: Server, handler: Handler, until: asyncio.Event | None) -> StreamEnd:
    async with serve(server, "127.0.0.1", 0, subprotocols=[stream.SUBPROTOCOL]) as listening:  # type: ignore[list-item]
        port = listening.sockets[0].getsockname()[1]
        device = DeviceStream(f"ws://127.0.0.1:{port}", handler, draw=lambda: 0.0)
        running = asyncio.create_task(device.run())
        if until is not None:
            await asyncio.wait_for(until.wait(), 20)
            device.stop()
        return await asyncio.wait_for(running, 20)


async def test_receives_in_order_and_acknowledges() -> None:
    server, handler = Server(mailbox=20), Handler()
    assert await run(server, handler, server.all_acked) is StreamEnd.STOPPED
    assert handler.came == server.mailbox
    assert server.headers == ["Bearer stale"]


async def test_resumes_at_the_cursor_after_a_loss_and_applies_once() -> None:
    server, handler = Server(mailbox=9, drop_after=4), Handler()
    await run(server, handler, server.all_acked)
    assert handler.came == server.mailbox
    assert len(server.hellos) == 2
    assert server.hellos[0] == 0
    assert 0 <= server.hellos[1] <= 4


async def test_sends_within_the_credit_and_in_order() -> None:
    server, handler = Server(credit=3), Handler(sends=10)
    await run(server, handler, handler.enough)
    assert list(server.taken.values()) == [b"body %d" % n for n in range(1, 11)]
    assert server.most_flying == 3


async def test_unanswered_sends_are_repeated_under_the_same_reference() -> None:
    server, handler = Server(mailbox=1, credit=5, drop_after=1), Handler(sends=4)
    references = [entry.submission.message_ref for entry in handler.outbox]
    await run(server, handler, handler.enough)
    assert list(server.taken) == references


async def test_an_expired_session_is_renewed_without_waiting() -> None:
    server, handler = Server(mailbox=2, close_with=[4401]), Handler()
    await run(server, handler, server.all_acked)
    assert handler.logins == [False, True]
    assert server.headers == ["Bearer stale", "Bearer fresh"]


async def test_final_closes_end_the_loop() -> None:
    for code, end in ((4403, StreamEnd.REMOVED), (4409, StreamEnd.REPLACED)):
        assert await run(Server(close_with=[code]), Handler(), None) is end


@pytest.mark.attack("A18")
async def test_a_login_tells_whether_a_device_is_an_old_copy() -> None:
    copy = Handler()
    copy.old = True
    assert await run(Server(close_with=[4410]), copy, None) is StreamEnd.ROLLED_BACK
    assert copy.logins == [False, True]
    server, overtaken = Server(mailbox=3, close_with=[4410]), Handler(sends=2)
    assert await run(server, overtaken, server.all_acked) is StreamEnd.STOPPED
    assert overtaken.logins == [False, True]
    assert server.counters == sorted(server.counters), "each frame states the counter"
    assert len(server.counters) >= 3
    assert await run(Server(close_with=[4410, 4410]), Handler(), None) is StreamEnd.ROLLED_BACK, "a relay that insists"


async def test_other_closes_are_tried_again() -> None:
    server, handler = Server(mailbox=1, close_with=[1012, 1013, 4400]), Handler()
    await run(server, handler, server.all_acked)
    assert len(server.headers) == 4


def test_backoff_grows_to_its_limit_with_full_jitter() -> None:
    assert [backoff(n, lambda: 1.0) for n in (0, 1, 2)] == [0.25, 0.5, 1.0]
    assert backoff(1000, lambda: 1.0) == BACKOFF_LIMIT_S
    assert backoff(5, lambda: 0.0) == 0.0
