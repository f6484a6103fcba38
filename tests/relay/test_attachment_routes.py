"""The routes of attachments over ASGI, and the SDK on top of them with a connection that breaks."""

import os
from base64 import b64decode
from pathlib import Path

import httpx
import pytest
from tests.relay.test_device_routes import b64, serving
from tests.relay.world import Phone, enrolled, group_of

from letterlock.client.errors import MediaError, MediaReason, RelayError, RelayReason
from letterlock.client.payload import Media
from letterlock.client.relay import RelayCalls
from letterlock.client.transfers import TRIES, Transfers
from letterlock.model.ids import AttachmentId, GroupRef
from letterlock.wire.attachment import BLOB_SIZES, PIECE

GROUP = b"g"
NAME = AttachmentId(b"\xaa" * 16)


async def test_there_and_back_and_what_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (world, http):
        ann, bob, eve = await enrolled(world, "a1", "b1", "e1")
        for phone in (ann, bob, eve):
            await http.log_in(phone)
        ref = await group_of(world, GROUP, ann, bob)
        begin, one = f"/v1/groups/{ref}/attachments/{NAME}", f"/v1/attachments/{NAME}"
        size = BLOB_SIZES[0]
        blob = os.urandom(size)
        for wrong, status, code in (
            ({"size": size + 1}, 422, "attachment_size"),
            ({"size": BLOB_SIZES[-1] + 1}, 422, "wrong_type"),
            ({"size": 0}, 422, "wrong_type"),
        ):
            found, problem = await http("PUT", begin, ann, wrong)
            assert (found, problem["code"]) == (status, code)
        assert (await http("PUT", begin, None, {"size": size}))[0] == 401
        assert (await http("PUT", begin, eve, {"size": size}))[1]["code"] == "not_a_member"
        assert (await http("PUT", begin.replace("att_", "msg_"), ann, {"size": size}))[0] == 404
        status, told = await http("PUT", begin, ann, {"size": size})
        assert (status, told["received"], told["size"]) == (201, 0, size)
        assert (await http("PUT", begin, ann, {"size": size}))[0] == 200
        status, told = await http("PATCH", one, ann, {"offset": 0, "piece": b64(blob[:9])})
        assert (status, told["received"]) == (200, 9)
        status, problem = await http("PATCH", one, ann, {"offset": 10, "piece": b64(b"x")})
        assert (status, problem["code"], problem["offset"]) == (409, "wrong_offset", 9)
        assert (await http("PATCH", one, ann, {"offset": 9, "piece": ""}))[0] == 422
        assert (await http("PATCH", one, ann, {"offset": 9, "piece": b64(bytes(PIECE + 1))}))[0] == 422
        assert (await http("PATCH", one, ann, {"offset": 9, "piece": b64(bytes(2 * PIECE))}))[0] == 413
        assert (await http("PATCH", one, bob, {"offset": 9, "piece": b64(blob[9:])}))[0] == 404
        assert (await http("GET", one, bob))[0] == 404
        assert (await http("PATCH", one, ann, {"offset": 9, "piece": b64(blob[9:])}))[1]["received"] == size
        status, told = await http("GET", f"{one}?offset=20", bob)
        assert (status, b64decode(told["piece"]), told["size"]) == (200, blob[20:], size)
        for who in (ann, eve):
            assert (await http("GET", one, who))[0] == 404
        assert (await http("GET", f"{one}?offset={size}", bob))[1]["code"] == "wrong_offset"
        assert (await http("GET", "/v1/attachments", bob))[0] == 404, "there is no list"
        assert (await http("POST", f"{one}/release", bob))[0] == 204
        assert (await http("GET", one, bob))[0] == 404
        assert (await http("POST", f"{one}/release", bob))[0] == 204


class FakeState:
    """Groups without a floor to fall below."""

    def live(self, ref: GroupRef) -> GroupRef:
        return ref

    def require_floor(self, record: GroupRef) -> None:
        return


class FakeSession:
    def __init__(self, calls: RelayCalls) -> None:
        self._calls = calls

    async def relay(self) -> RelayCalls:
        return self._calls


class Breaking(httpx.AsyncBaseTransport):
    """Loses one request in so many, and one answer."""

    def __init__(self, inner: httpx.AsyncBaseTransport, losing: bool, every: int) -> None:
        self.inner = inner
        self.losing = losing
        self.every = every
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.losing and self.asked % self.every == 1 % self.every:
            raise httpx.ConnectError("lost on the way there")
        answer = await self.inner.handle_async_request(request)
        if self.losing and self.asked % self.every == 3:
            await answer.aread()
            raise httpx.ReadError("lost on the way back")
        return answer


def transfers(http: object, phone: Phone, *, losing: bool = True, every: int = 4) -> tuple[Transfers, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    client = http._client  # type: ignore[attr-defined]
    transport = Breaking(client._transport, losing, every)
    mine = httpx.AsyncClient(transport=transport, base_url="http://gw")
    calls = RelayCalls(mine, http.tokens[phone.id])  # type: ignore[attr-defined]
    return Transfers(FakeState(), FakeSession(calls), sleep), slept  # type: ignore[arg-type]


async def test_the_sdk_goes_on_when_the_connection_breaks(tmp_path: Path) -> None:
    content = os.urandom(3 * PIECE)
    async with serving(tmp_path) as (world, http):
        ann, bob, cat = await enrolled(world, "a1", "b1", "c1")
        for phone in (ann, bob, cat):
            await http.log_in(phone)
        ref = await group_of(world, GROUP, ann, bob, cat)
        sender, slept = transfers(http, ann)
        media = await sender.upload(ref, content, "image/png", "a picture.png")
        assert slept
        assert (media.size, media.media_type) == (len(content), "image/png")
        assert await transfers(http, bob)[0].download(media) == content
        await transfers(http, bob, losing=False)[0].release(media)
        receiver, _ = transfers(http, cat, losing=False)
        assert await receiver.download(media) == content
        await receiver.release(media)
        with pytest.raises(RelayError) as gone:
            await receiver.download(media)
        assert gone.value.reason is RelayReason.NOT_FOUND
        for path in tmp_path.iterdir():
            assert media.key not in path.read_bytes(), path.name


async def test_the_sdk_gives_up_after_some_tries_and_at_once_when_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (world, http):
        ann, bob = await enrolled(world, "a1", "b1")
        await http.log_in(ann)
        ref = await group_of(world, GROUP, ann, bob)
        sender, slept = transfers(http, ann, losing=False)
        with pytest.raises(RelayError) as found:
            await sender.upload(GroupRef(bytes(16)), b"x", "image/png", "a.png")
        assert (found.value.reason, slept) == (RelayReason.NOT_FOUND, [])
        sender, slept = transfers(http, ann, every=1)
        with pytest.raises(RelayError) as found:
            await sender.upload(ref, b"x", "image/png", "a.png")
        assert (found.value.reason, len(slept)) == (RelayReason.UNREACHABLE, TRIES - 1)
        assert await world.count("attachment") == 0


async def test_the_sdk_finds_what_the_relay_changed(tmp_path: Path) -> None:
    content = os.urandom(100)
    async with serving(tmp_path) as (world, http):
        ann, bob = await enrolled(world, "a1", "b1")
        for phone in (ann, bob):
            await http.log_in(phone)
        ref = await group_of(world, GROUP, ann, bob)
        media = await transfers(http, ann, losing=False)[0].upload(ref, content, "image/png", "a.png")
        receiver, _ = transfers(http, bob, losing=False)
        assert await receiver.download(media) == content

        async def reason(changed: Media) -> MediaReason:
            with pytest.raises(MediaError) as found:
                await receiver.download(changed)
            return found.value.reason

        def but(**fields: object) -> Media:
            names = ("media_type", "name", "size", "locator", "key", "digest")
            return Media(**({name: getattr(media, name) for name in names} | fields))

        assert await reason(but(digest=bytes(32))) is MediaReason.ANOTHER_BLOB
        assert await reason(but(key=bytes(32))) is MediaReason.TAMPERED
        assert await reason(but(size=PIECE)) is MediaReason.CUT_SHORT, "the relay's blob has another size"
        assert await reason(but(locator="somewhere-else")) is MediaReason.BAD_LOCATOR
