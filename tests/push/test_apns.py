"""The driver for Apple's push service against a double that speaks HTTP/2 over TLS and checks every rule."""

import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from letterlock.lab.push import LabApns, PushFault
from letterlock.model.clock import ManualClock
from letterlock.transports.push import apns
from letterlock.transports.push.apns import COLLAPSE_ID, PAYLOAD, TOKEN_LIFETIME_S, ApnsSender
from letterlock.transports.push.port import KEY_REFUSED, PushOutcome, PushResult
from letterlock.wire.push_targets import ApnsTarget
from letterlock.wire.webpush import PushError

SENT, GONE, REFUSED = (PushOutcome(one) for one in (PushResult.SENT, PushResult.GONE, PushResult.REFUSED))
RETRY = PushOutcome(PushResult.RETRY)
UNAUTHORISED = KEY_REFUSED


class Stage:
    def __init__(self, service: LabApns, clock: ManualClock) -> None:
        self.service = service
        self.clock = clock
        self.made: list[ApnsSender] = []

    def sender(
        self,
        key: ec.EllipticCurvePrivateKey | None = None,
        key_id: str = LabApns.KEY_ID,
        team: str = LabApns.TEAM,
        topic: str = LabApns.TOPIC,
        trust: ssl.SSLContext | None = None,
    ) -> ApnsSender:
        trusted = trust or ssl.create_default_context(cafile=str(self.service.ca_file))
        origin = f"https://{self.service.host}"
        self.made.append(ApnsSender(key or self.service.provider_key, key_id, team, topic, origin, self.clock, trusted))
        return self.made[-1]


@asynccontextmanager
async def stage(folder: Path) -> AsyncGenerator[Stage]:
    clock = ManualClock(1_795_000_000_000)
    async with LabApns(lambda: clock.now_ms() / 1_000, folder).listening() as service:
        made = Stage(service, clock)
        try:
            yield made
        finally:
            for sender in made.made:
                await sender.close()


async def test_every_push_is_alike_and_says_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        sender = here.sender()
        devices = [here.service.device() for _ in range(5)]
        for device in devices:
            assert await sender.send(ApnsTarget(device)) == SENT
        assert [woken.token for woken in here.service.woken] == devices
        assert {woken.payload for woken in here.service.woken} == {PAYLOAD}
        assert json.loads(PAYLOAD)["aps"]["mutable-content"] == 1, "the app's extension is started"
        alike = {tuple(sorted(woken.headers.items())) for woken in here.service.woken}
        assert len(alike) == 1, "not even the provider's token differs"
        (fields,) = alike
        assert dict(fields)["apns-collapse-id"] == COLLAPSE_ID
        assert here.service.connections == 1, "one connection for all"
        assert here.service.refused == []


async def test_the_providers_token_is_renewed_in_time_and_not_too_often(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        sender, device = here.sender(), here.service.device()
        tokens = []
        for _ in range(30):
            assert await sender.send(ApnsTarget(device)) == SENT
            tokens.append(here.service.woken[-1].headers["authorization"])
            here.clock.advance(10 * 60_000)
        assert here.service.refused == []
        assert len(set(tokens)) == 30 * 600 // TOKEN_LIFETIME_S
        # A clock that was ahead and is set right: the token of the future is not kept.
        here.clock.advance(24 * 3_600_000)
        assert await sender.send(ApnsTarget(device)) == SENT
        sender._made_s += 7_200
        here.clock.advance(TOKEN_LIFETIME_S * 1_000)
        assert await sender.send(ApnsTarget(device)) == SENT


async def test_a_device_that_is_gone_or_never_was_is_forgotten(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        sender, device = here.sender(), here.service.device()
        here.service.uninstall(device)
        assert await sender.send(ApnsTarget(device)) == GONE
        assert await sender.send(ApnsTarget(bytes(32))) == GONE
        here.service.faults.append(PushFault(400, "DeviceTokenNotForTopic"))
        assert await sender.send(ApnsTarget(device)) == GONE
        assert here.service.refused == [(410, "Unregistered"), (400, "BadDeviceToken")]


async def test_the_operators_faults_are_told_apart(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        device = ApnsTarget(here.service.device())
        for wrong, reason in (
            (here.sender(key=ec.generate_private_key(ec.SECP256R1())), "InvalidProviderToken"),
            (here.sender(key_id="KEY7654321"), "InvalidProviderToken"),
            (here.sender(team="TEAM654321"), "InvalidProviderToken"),
        ):
            assert await wrong.send(device) == UNAUTHORISED
            assert here.service.refused.pop() == (403, reason)
        assert await here.sender(topic="net.example.other").send(device) == UNAUTHORISED
        assert here.service.refused.pop() == (400, "TopicDisallowed")
        assert await here.sender(trust=ssl.create_default_context()).send(device) == RETRY, "another authority"
        assert here.service.woken == []
        here.clock.advance(21 * 60_000)
        assert await here.sender().send(device) == SENT


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (PushFault(0), RETRY),
        (PushFault(429, "TooManyRequests", "17"), PushOutcome(PushResult.RETRY, 17)),
        (PushFault(429, "TooManyProviderTokenUpdates"), PushOutcome(PushResult.RETRY, 1_200)),
        (PushFault(500, "InternalServerError"), RETRY),
        (PushFault(503, "ServiceUnavailable", "99999999"), PushOutcome(PushResult.RETRY, 3_600)),
        (PushFault(503, "Shutdown", "soon"), RETRY),
        (PushFault(413, "PayloadTooLarge"), REFUSED),
        (PushFault(404, "BadPath"), REFUSED),
        (PushFault(403, "ExpiredProviderToken"), UNAUTHORISED),
        (PushFault(403, "x" * 20_000), UNAUTHORISED),
        (PushFault(410, ""), GONE),
    ],
)
async def test_each_answer_has_its_outcome_and_the_next_push_goes(
    tmp_path: Path, fault: PushFault, outcome: PushOutcome
) -> None:
    async with stage(tmp_path) as here:
        sender, device = here.sender(), ApnsTarget(here.service.device())
        here.service.faults.append(fault)
        assert await sender.send(device) == outcome
        assert await sender.send(device) == SENT


async def test_a_token_that_apple_calls_expired_is_made_anew(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        sender, device = here.sender(), ApnsTarget(here.service.device())
        assert await sender.send(device) == SENT
        here.clock.advance(25 * 60_000)
        here.service.faults.append(PushFault(403, "ExpiredProviderToken"))
        assert await sender.send(device) == RETRY
        assert await sender.send(device) == SENT
        first, second = (woken.headers["authorization"] for woken in here.service.woken)
        assert first != second


async def test_nobody_listening_is_a_retry(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        device = ApnsTarget(here.service.device())
    sender = here.sender()
    assert await sender.send(device) == RETRY
    await sender.close()


def test_tokens_are_checked_and_never_shown() -> None:
    for length in (0, 31, 101):
        with pytest.raises(PushError):
            ApnsTarget(bytes(length)).checked()
    token = bytes(range(32))
    assert ApnsTarget(token).checked().address == f"apns:{token.hex()}"
    assert token.hex() not in repr(ApnsTarget(token))


async def test_the_double_refuses_what_apple_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as here:
        trust = ssl.create_default_context(cafile=str(here.service.ca_file))
        sender, device = here.sender(), here.service.device()
        assert await sender.send(ApnsTarget(device)) == SENT
        good = {name: value for name, value in here.service.woken[0].headers.items() if name != "content-length"}
        url = f"https://{here.service.host}/3/device/{device.hex()}"
        async with httpx.AsyncClient(http1=False, http2=True, verify=trust, trust_env=False) as http:

            async def refused(change: dict[str, str], content: bytes = PAYLOAD, to: str = url) -> str:
                answer = await http.post(to, content=content, headers={**good, **change})
                assert answer.status_code >= 400
                return str(answer.json()["reason"])

            assert await refused({"authorization": "basic x"}) == "MissingProviderToken"
            assert await refused({"authorization": good["authorization"][:-4] + "AAAA"}) == "InvalidProviderToken"
            assert await refused({"authorization": "bearer x"}) == "InvalidProviderToken"
            assert await refused({"apns-topic": "net.example.other"}) == "TopicDisallowed"
            assert await refused({"apns-push-type": "loud"}) == "InvalidPushType"
            assert await refused({"apns-push-type": "background"}) == "BadPriority"
            assert await refused({"apns-priority": "7"}) == "BadPriority"
            assert await refused({"apns-expiration": "soon"}) == "BadExpirationDate"
            assert await refused({"apns-collapse-id": "x" * 65}) == "BadCollapseId"
            assert await refused({}, b"") == "PayloadEmpty"
            assert await refused({}, b" " * 4_097) == "PayloadTooLarge"
            assert await refused({}, b'{"aps":{}}') == "InvalidPushType"
            assert await refused({}, to=url + "zz") == "BadPath"
        here.clock.advance(2 * 3_600_000)
        monkeypatch.setattr(apns, "TOKEN_LIFETIME_S", 10 * 3_600)
        assert await sender.send(ApnsTarget(device)) != SENT, "Apple knows how old a token may get"
        assert here.service.refused[-1] == (403, "ExpiredProviderToken")
        eager = [here.sender() for _ in range(2)]
        assert await eager[0].send(ApnsTarget(device)) == SENT
        here.clock.advance(60_000)
        assert (await eager[1].send(ApnsTarget(device))).wait_s == 1_200
        assert here.service.refused[-1] == (429, "TooManyProviderTokenUpdates")
