"""The driver for Firebase Cloud Messaging against a double that checks assertions, access tokens and messages."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from letterlock.lab.push import LabFcm, PushFault
from letterlock.model.clock import ManualClock
from letterlock.transports.push import fcm
from letterlock.transports.push.fcm import FcmSender, ServiceAccount
from letterlock.transports.push.port import KEY_REFUSED, PushOutcome, PushResult
from letterlock.wire.jws import signed
from letterlock.wire.push_targets import FcmTarget
from letterlock.wire.webpush import PushError

SENT, GONE, REFUSED = (PushOutcome(one) for one in (PushResult.SENT, PushResult.GONE, PushResult.REFUSED))
RETRY = PushOutcome(PushResult.RETRY)
UNAUTHORISED = KEY_REFUSED


class Stage:
    def __init__(self, service: LabFcm, clock: ManualClock) -> None:
        self.service = service
        self.clock = clock
        self.made: list[FcmSender] = []

    def sender(
        self,
        project: str = LabFcm.PROJECT,
        email: str = LabFcm.EMAIL,
        key_id: str = LabFcm.KEY_ID,
        key: rsa.RSAPrivateKey | None = None,
    ) -> FcmSender:
        url = f"{self.service.origin}/token"
        account = ServiceAccount(project, email, key_id, key or self.service.account_key, url)
        self.made.append(FcmSender(account, self.service.origin, self.clock))
        return self.made[-1]


@asynccontextmanager
async def stage() -> AsyncGenerator[Stage]:
    clock = ManualClock(1_795_000_000_000)
    async with LabFcm(lambda: clock.now_ms() / 1_000).listening() as service:
        made = Stage(service, clock)
        try:
            yield made
        finally:
            for sender in made.made:
                await sender.close()


async def test_every_push_is_alike_and_one_access_token_serves_all() -> None:
    async with stage() as here:
        sender = here.sender()
        devices = [here.service.device() for _ in range(8)]
        found = await asyncio.gather(*(sender.send(FcmTarget(device)) for device in devices))
        assert found == [SENT] * 8
        assert sorted(woken.token for woken in here.service.woken) == sorted(devices)
        alike = {json.dumps({**woken.message, "token": ""}, sort_keys=True) for woken in here.service.woken}
        assert len(alike) == 1
        (message,) = alike
        assert "notification" not in json.loads(message), "nothing is shown by itself"
        assert here.service.granted == 1, "however many ask at once"
        assert here.service.refused == []


async def test_the_access_token_is_renewed_before_it_ends() -> None:
    async with stage() as here:
        sender, device = here.sender(), FcmTarget(here.service.device())
        for _ in range(13):
            assert await sender.send(device) == SENT
            here.clock.advance(10 * 60_000)
        assert here.service.refused == []
        assert here.service.granted == 3


async def test_a_device_that_is_gone_or_never_was_is_forgotten() -> None:
    async with stage() as here:
        sender, device = here.sender(), here.service.device()
        here.service.uninstall(device)
        assert await sender.send(FcmTarget(device)) == GONE
        assert await sender.send(FcmTarget("x" * 100)) == GONE
        here.service.faults.append(PushFault(403, "SENDER_ID_MISMATCH"))
        assert await sender.send(FcmTarget(device)) == GONE
        assert [status for status, _ in here.service.refused] == [404, 400]


async def test_the_operators_faults_are_told_apart() -> None:
    async with stage() as here:
        device = FcmTarget(here.service.device())
        stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        for wrong in (here.sender(key=stranger), here.sender(email="a@b.c"), here.sender(key_id="0")):
            assert await wrong.send(device) == UNAUTHORISED
        assert await here.sender(project="another").send(device) == REFUSED
        assert (here.service.granted, here.service.woken) == (1, [])
        assert await here.sender().send(device) == SENT


async def test_an_access_token_that_was_revoked_is_asked_for_anew() -> None:
    async with stage() as here:
        sender, device = here.sender(), FcmTarget(here.service.device())
        assert await sender.send(device) == SENT
        here.service.revoke_access()
        assert await sender.send(device) == UNAUTHORISED
        assert await sender.send(device) == SENT
        assert here.service.granted == 2


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (PushFault(0), RETRY),
        (PushFault(429, "QUOTA_EXCEEDED"), PushOutcome(PushResult.RETRY, 60)),
        (PushFault(429, "QUOTA_EXCEEDED", "90"), PushOutcome(PushResult.RETRY, 90)),
        (PushFault(500, "INTERNAL"), RETRY),
        (PushFault(503, "UNAVAILABLE", "99999999"), PushOutcome(PushResult.RETRY, 3_600)),
        (PushFault(400, "INVALID_ARGUMENT"), REFUSED),
        (PushFault(401, "THIRD_PARTY_AUTH_ERROR"), UNAUTHORISED),
        (PushFault(403), UNAUTHORISED),
        (PushFault(400, "x" * 20_000), REFUSED),
        (PushFault(404, "UNREGISTERED"), GONE),
    ],
)
async def test_each_answer_has_its_outcome_and_the_next_push_goes(fault: PushFault, outcome: PushOutcome) -> None:
    async with stage() as here:
        sender, device = here.sender(), FcmTarget(here.service.device())
        here.service.faults.append(fault)
        assert await sender.send(device) == outcome
        assert await sender.send(device) == SENT


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (PushFault(0), RETRY),
        (PushFault(503, "", "5"), PushOutcome(PushResult.RETRY, 5)),
        (PushFault(429), RETRY),
        (PushFault(400), UNAUTHORISED),
        (PushFault(401), UNAUTHORISED),
    ],
)
async def test_no_access_token_no_push_and_no_loss(fault: PushFault, outcome: PushOutcome) -> None:
    async with stage() as here:
        sender, device = here.sender(), FcmTarget(here.service.device())
        here.service.token_faults.append(fault)
        assert await sender.send(device) == outcome
        assert here.service.woken == []
        assert await sender.send(device) == SENT


async def test_what_is_no_token_answer_is_not_taken_for_one() -> None:
    for body in (b"", b"[]", b"{}", b'{"access_token":1,"expires_in":9}', b'{"access_token":"x"}', b"x" * 20_000):
        account = ServiceAccount(
            "p", "a@b.c", "k", rsa.generate_private_key(public_exponent=65_537, key_size=2_048), "http://127.0.0.1/t"
        )
        transport = httpx.MockTransport(lambda _, body=body: httpx.Response(200, content=body))
        sender = FcmSender(account, "http://127.0.0.1", ManualClock(0), transport)
        assert (await sender.send(FcmTarget("x" * 100))).result is PushResult.UNAUTHORISED
        await sender.close()


def test_tokens_are_checked_and_never_shown() -> None:
    for token in ("", "x" * 31, "x" * 1_025, "x" * 40 + "/", "x" * 40 + "\n", "é" * 40):
        with pytest.raises(PushError):
            FcmTarget(token).checked()
    token = "abc:APA91b" + "x_-" * 40
    assert FcmTarget(token).checked().address == f"fcm:{token}"
    assert token not in repr(FcmTarget(token))


async def test_the_double_refuses_what_google_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as here:
        device = here.service.device()
        real = signed
        now = here.clock.now_ms() // 1_000
        changes: list[Mapping[str, object]] = [
            {"aud": "https://oauth2.googleapis.com/token"},
            {"scope": "https://www.googleapis.com/auth/cloud-platform"},
            {"exp": now + 3_601},
            {"exp": now},
            {"iat": now + 3_000},
        ]
        for change in changes:

            def told(
                key: rsa.RSAPrivateKey,
                head: Mapping[str, object],
                claims: Mapping[str, object],
                change: Mapping[str, object] = change,
            ) -> str:
                return real(key, head, {**claims, **change})

            monkeypatch.setattr(fcm, "signed", told)
            assert await here.sender().send(FcmTarget(device)) == UNAUTHORISED
        monkeypatch.setattr(fcm, "signed", real)
        assert [status for status, _ in here.service.refused] == [400] * len(changes)
        sender = here.sender()
        assert await sender.send(FcmTarget(device)) == SENT
        url = f"{here.service.origin}/v1/projects/{LabFcm.PROJECT}/messages:send"
        good = {"token": device, "data": {"a": "b"}, "android": {"priority": "HIGH", "ttl": "60s"}}
        async with httpx.AsyncClient(trust_env=False) as http:

            async def status(message: object, bearer: str = sender._token) -> int:
                fields = {"authorization": f"Bearer {bearer}"}
                return (await http.post(url, json={"message": message}, headers=fields)).status_code

            assert await status(good) == 200
            assert await status(good, "x") == 401
            wrongs: list[object] = [
                {**good, "data": {"a": 1}},
                {**good, "data": {"a": "b" * 5_000}},
                {**good, "priority": "high"},
                {**good, "android": {"priority": "loud"}},
                {**good, "android": {"ttl": "1 day"}},
                {**good, "android": {"sound": "x"}},
                {"data": {}},
                "text",
            ]
            for wrong in wrongs:
                assert await status(wrong) == 400
            here.clock.advance(3_600_000)
            assert await status(good) == 401, "an access token ends"
