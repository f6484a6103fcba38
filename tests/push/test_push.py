"""Push against a push service that checks and decrypts: who is woken, what it learns, what happens when it fails."""

import json
import os
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.relay.world import Person, Phone, World, bundle, enrolled, group_of, opened

from letterlock.gateway.hub import Hub, Mail
from letterlock.lab.demo.world import until
from letterlock.lab.push import LabPushService, PushFault, UserAgent
from letterlock.lab.sweep import Canary, Directory, sweep
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import PUSH_TTL_MS
from letterlock.relay.push import Push
from letterlock.relay.push_schedule import DELAY_MS, MAX_TRIES, PAUSE_MS
from letterlock.storage.relay_commands import RelayReason
from letterlock.storage.sqlite.push_reads import PushReads
from letterlock.transports.push import web
from letterlock.transports.push.port import PushDrivers, PushResult
from letterlock.transports.push.web import WebPushSender
from letterlock.wire.push_targets import WebTarget
from letterlock.wire.webpush import WAKE_UP, HostList, Subscription, private_key, public_bytes, vapid

GROUP = b"LETTERCANARYgroup55"
KEY = private_key(bytes(range(64)))
HIGH = DELAY_MS[1]


def web_target(endpoint: str, public: bytes, auth: bytes) -> WebTarget:
    return WebTarget(Subscription(endpoint, public, auth))


class Stage:
    """A relay whose deliveries go through a hub, with push behind it."""

    def __init__(self, world: World, service: LabPushService) -> None:
        self.world = world
        self.service = service
        hosts = HostList((service.host, "push.example.net"))
        self.sender = WebPushSender(KEY, hosts, "mailto:ops@example.net", world.clock)
        self.hub = Hub()
        self.results: list[PushResult] = []
        self.push = Push(
            world.committer, PushReads(world.readers), world.keys, b"e" * 32, PushDrivers(self.sender),
            self.hub.connected,
            world.clock, os.urandom, self.results.append, lambda: 0.5,
        )  # fmt: skip
        self.hub.absent = self.push.absent
        world.notified.notify = self.hub.notify  # type: ignore[method-assign]

    async def subscribe(self, phone: Phone) -> tuple[WebTarget, UserAgent]:
        endpoint, agent = self.service.subscribe(public_bytes(KEY))
        target = web_target(endpoint, agent.public, agent.auth)
        await self.push.register(phone.caller, phone.id, target)
        return target, agent

    async def later(self, milliseconds: int = HIGH) -> None:
        self.world.clock.advance(milliseconds)
        self.push.send_due()
        await self.push.settled()


@asynccontextmanager
async def stage(folder: Path) -> AsyncGenerator[Stage]:
    async with opened(folder) as world, LabPushService(lambda: world.clock.now_ms() / 1_000).listening() as service:
        made = Stage(world, service)
        try:
            yield made
        finally:
            await made.sender.close()


async def commit(here: Stage, phone: Phone, ref: object, epoch: int) -> None:
    await here.world.groups.commit(phone.caller, ref, bundle(GROUP, epoch))  # type: ignore[arg-type]


async def test_the_one_who_is_away_is_woken_and_the_one_who_is_here_is_not(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob, cat, dan = await enrolled(here.world, "a1", "b1", "c1", "d1")
        ref = await group_of(here.world, GROUP, ann, bob, cat, dan)
        away, _ = await here.subscribe(bob)
        await here.subscribe(cat)
        mail = Mail(cat.mailbox, 0, 0)
        here.hub.join(mail)
        for epoch in range(1, 6):
            await commit(here, ann, ref, epoch)
        assert here.service.requests == 0, "nothing is sent on the way of a message"
        await here.later()
        assert [woken.endpoint for woken in here.service.woken] == [away.address], "one, for five messages"
        assert here.results == [PushResult.SENT]
        here.hub.leave(mail)
        await commit(here, ann, ref, 6)
        await here.later()
        assert len(here.service.woken) == 2, "bob was woken just now; cat has gone"
        await here.later(PAUSE_MS)
        assert Counter(woken.endpoint for woken in here.service.woken)[away.address] == 2
        assert here.service.refused == []


async def test_a_device_that_came_or_fetched_everything_meanwhile_is_not_woken(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob, cat = await enrolled(here.world, "a1", "b1", "c1")
        ref = await group_of(here.world, GROUP, ann, bob, cat)
        await here.subscribe(bob)
        await here.subscribe(cat)
        await commit(here, ann, ref, 1)
        here.hub.join(Mail(bob.mailbox, 0, 0))
        await here.world.mailboxes.acknowledge(1, cat.mailbox, 2, 1)
        await here.later()
        assert here.service.requests == 0
        await commit(here, ann, ref, 2)
        await here.later()
        assert len(here.service.woken) == 1


async def test_a_push_says_nothing_but_that_there_is_something(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        world = here.world
        ann, bob, cat = await enrolled(world, "a1", "b1", "c1")
        (foe,) = await enrolled(world, "x1", tenant=2)
        small = await group_of(world, GROUP, ann, bob, cat)
        other = await group_of(world, b"other", cat, bob)
        await here.subscribe(bob)
        for step, (sender, ref, group, size) in enumerate(
            ((ann, small, GROUP, 1), (cat, other, b"other", 5_000), (cat, small, GROUP, 9_000))
        ):
            epoch = 2 if step == 2 else 1
            mark = b"LETTERCANARYtext99" * size
            await world.groups.commit(sender.caller, ref, bundle(group, epoch, mark=mark[:60_000]))
            await here.later(PAUSE_MS + HIGH)
        pushes = here.service.woken
        assert [woken.content for woken in pushes] == [WAKE_UP] * 3
        assert len({len(woken.body) for woken in pushes}) == 1
        assert len({woken.body for woken in pushes}) == 3, "fresh keys each time"
        for woken in pushes:
            told = dict(woken.headers)
            claims = told.pop("authorization").split("t=")[1].split(",")[0].split(".")[1]
            claims = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            assert set(claims) == {"aud", "exp", "sub"}
            assert (claims["aud"], claims["sub"]) == (here.service.origin, "mailto:ops@example.net")
            assert told == {
                "host": here.service.host, "accept": "*/*", "accept-encoding": told["accept-encoding"],
                "connection": "keep-alive", "user-agent": "letterlock", "content-encoding": "aes128gcm",
                "content-type": "application/octet-stream", "ttl": "86400", "urgency": "high",
                "content-length": str(len(woken.body)),
            }  # fmt: skip
        seen = tmp_path / "seen"
        seen.mkdir()
        (seen / "requests").write_bytes(here.service.seen + b"".join(woken.content for woken in pushes))
        names = [("group", GROUP.decode()), ("text", "LETTERCANARYtext99")]
        for phone in (ann, bob, cat, foe):
            names += [("device", phone.id.value.hex()), ("account", phone.account.value.hex())]
        report = sweep([Canary(f"{what} {n}", text) for n, (what, text) in enumerate(names)], [Directory(seen, "seen")])
        assert report.proven
        assert report.hits == 0


async def test_a_subscription_that_is_over_is_forgotten(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob = await enrolled(here.world, "a1", "b1")
        ref = await group_of(here.world, GROUP, ann, bob)
        subscription, _ = await here.subscribe(bob)
        here.service.unsubscribe(subscription.address)
        await commit(here, ann, ref, 1)
        await here.later()
        assert here.results == [PushResult.GONE]
        assert await here.world.count("push_subscription") == 0
        await commit(here, ann, ref, 2)
        await here.later(PAUSE_MS)
        assert here.service.requests == 1
        fresh, _ = await here.subscribe(bob)
        here.service.faults.append(PushFault(404))
        await commit(here, ann, ref, 3)
        await here.later(PAUSE_MS)
        assert here.results == [PushResult.GONE] * 2
        assert fresh.address.encode() not in b"".join(p.read_bytes() for p in tmp_path.iterdir() if p.is_file())
        page = await here.world.mailboxes.page(bob.caller.tenant_id, bob.mailbox, 0, 10)
        assert len(page.items) == 4, "no message is lost with a push"


async def test_a_push_that_fails_is_tried_again_as_asked_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as here:
        ann, bob = await enrolled(here.world, "a1", "b1")
        ref = await group_of(here.world, GROUP, ann, bob)
        await here.subscribe(bob)
        here.service.faults.extend(
            [PushFault(429, retry_after="120"), PushFault(503, retry_after="Fri, 31 Dec 1999 23:59:59 GMT")]
        )
        await commit(here, ann, ref, 1)
        await here.later()
        await here.later(119_000)
        assert here.service.requests == 1, "not before the time it asked for"
        await here.later(20_000)
        assert here.service.requests == 2
        await here.later(20_000)
        assert here.results == [PushResult.RETRY, PushResult.RETRY, PushResult.SENT]
        monkeypatch.setattr(here.sender._http, "timeout", 0.05)
        here.service.faults.extend([PushFault(0)] * MAX_TRIES)
        await commit(here, ann, ref, 2)
        for _ in range(2 * MAX_TRIES):
            await here.later(700_000)
        assert here.results[3:] == [PushResult.RETRY] * MAX_TRIES
        assert not here.service.faults
        await commit(here, ann, ref, 3)
        await here.later(PAUSE_MS)
        assert here.results[-1] is PushResult.SENT, "the next message wakes it"
        page = await here.world.mailboxes.page(bob.caller.tenant_id, bob.mailbox, 0, 10)
        assert len(page.items) == 4


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 413])
async def test_what_would_not_get_better_is_not_repeated_and_no_redirect_is_followed(
    tmp_path: Path, status: int
) -> None:
    async with stage(tmp_path) as here, LabPushService(lambda: 0).listening() as elsewhere:
        ann, bob = await enrolled(here.world, "a1", "b1")
        ref = await group_of(here.world, GROUP, ann, bob)
        await here.subscribe(bob)
        here.service.faults.append(PushFault(status, location=elsewhere.origin + "/inside"))
        await commit(here, ann, ref, 1)
        await here.later()
        await here.later(700_000)
        assert (here.results, here.service.requests, elsewhere.requests) == ([PushResult.REFUSED], 1, 0)
        assert await here.world.count("push_subscription") == 1


async def refusal(here: Stage, phone: Phone, target: WebTarget) -> RelayReason:
    with pytest.raises(RelayError) as found:
        await here.push.register(phone.caller, phone.id, target)
    return found.value.reason


async def test_nobody_takes_another_s_address(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob = await enrolled(here.world, "a1", "b1")
        (foe,) = await enrolled(here.world, "x1", tenant=2)
        ref = await group_of(here.world, GROUP, ann, bob)
        mine, _ = await here.subscribe(bob)
        thief = UserAgent()
        for other in (ann, foe):
            assert await refusal(here, other, mine) is RelayReason.PUSH_ENDPOINT_TAKEN
            stolen = web_target(mine.address, thief.public, thief.auth)
            assert await refusal(here, other, stolen) is RelayReason.PUSH_ENDPOINT_TAKEN
            await here.push.remove(other.mailbox)
        await here.push.register(bob.caller, bob.id, mine)
        await commit(here, ann, ref, 1)
        await here.later()
        assert [woken.endpoint for woken in here.service.woken] == [mine.address]
        newer, _ = await here.subscribe(bob)
        await here.push.register(ann.caller, ann.id, mine)
        assert await here.world.count("push_subscription") == 2, "an address that was left is free"
        await here.push.remove(bob.mailbox)
        await here.push.remove(bob.mailbox)
        await commit(here, ann, ref, 2)
        await here.later(PAUSE_MS + HIGH)
        assert newer.address not in [woken.endpoint for woken in here.service.woken]


async def test_no_device_sends_the_gateway_where_the_settings_do_not(tmp_path: Path) -> None:
    async with stage(tmp_path) as here, LabPushService(lambda: 0).listening() as inside:
        (bob,) = await enrolled(here.world, "b1")
        agent = UserAgent()
        for endpoint in (
            f"{inside.origin}/x",
            "https://169.254.169.254/latest/meta-data/",
            "https://push.example.net@127.0.0.1/",
            "http://push.example.net/x",
            "https://push.example.net.evil.test/x",
        ):
            wrong = web_target(endpoint, agent.public, agent.auth)
            assert await refusal(here, bob, wrong) is RelayReason.BAD_PUSH_SUBSCRIPTION
        good = web_target("https://push.example.net/x", agent.public, agent.auth)
        keyless = web_target(good.address, bytes(65), agent.auth)
        assert await refusal(here, bob, keyless) is RelayReason.BAD_PUSH_SUBSCRIPTION
        assert await here.push.register(bob.caller, bob.id, good) > 0
        # What was listed once and is not any more is not gone to either.
        elsewhere = web_target(f"{inside.origin}/x", agent.public, agent.auth)
        assert (await here.sender.send(elsewhere)).result is PushResult.GONE
        assert inside.requests == 0


async def test_at_rest_it_is_sealed_to_one_length_and_ends_in_time(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob = await enrolled(here.world, "a1", "b1")
        subscription, _ = await here.subscribe(bob)
        agent = UserAgent()
        await here.push.register(ann.caller, ann.id, web_target("https://push.example.net/x", agent.public, agent.auth))
        lengths = await here.world.rows("SELECT length(sealed) FROM push_subscription")
        assert lengths[0] == lengths[1]
        here.world.clock.advance(PUSH_TTL_MS - 1)
        assert await here.push.purge() == 0
        await here.push.register(ann.caller, ann.id, web_target("https://push.example.net/x", agent.public, agent.auth))
        here.world.clock.advance(1)
        assert await here.push.purge() == 1
        assert await here.world.rows("SELECT mailbox FROM push_subscription") == [(ann.mailbox,)]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for part in (
        subscription.address[-32:].encode(),
        subscription.subscription.public,
        subscription.subscription.auth,
        b"push.example.net",
    ):
        assert part not in stored


async def test_a_removed_device_is_not_woken(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann = Person("ann")
        one, two = Phone("a1"), Phone("a2")
        await ann.enrol(here.world, one, two)
        await here.subscribe(one)
        await here.subscribe(two)
        await ann.publish(here.world, [one])
        assert await here.world.rows("SELECT mailbox FROM push_subscription") == [(one.mailbox,)]


async def test_after_a_start_those_for_whom_something_waits_are_woken(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        ann, bob, cat = await enrolled(here.world, "a1", "b1", "c1")
        ref = await group_of(here.world, GROUP, ann, bob)
        await here.subscribe(bob)
        await here.subscribe(cat)
        await commit(here, ann, ref, 1)
        again = Stage(here.world, here.service)
        await again.push.start()
        await again.later()
        assert len(here.service.woken) == 1
        await commit(again, ann, ref, 2)
        await again.later(PAUSE_MS + HIGH)
        assert len(here.service.woken) == 2
        await again.push.stop()
        await again.sender.close()


async def test_the_task_sends_by_itself_when_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letterlock.relay.push_schedule.DELAY_MS", (1, 2))
    async with stage(tmp_path) as here:
        ann, bob = await enrolled(here.world, "a1", "b1")
        ref = await group_of(here.world, GROUP, ann, bob)
        await here.subscribe(bob)
        await here.push.start()
        await commit(here, ann, ref, 1)
        here.world.clock.advance(10)
        assert await until(lambda: bool(here.service.woken))
        await here.push.stop()


async def test_without_a_listed_service_there_is_no_push(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        (bob,) = await enrolled(here.world, "b1")
        none = Push(
            here.world.committer, PushReads(here.world.readers), here.world.keys, b"e" * 32, PushDrivers(),
            here.hub.connected, here.world.clock, os.urandom, here.results.append,
        )  # fmt: skip
        assert not none.offered
        agent = UserAgent()
        with pytest.raises(RelayError) as found:
            await none.register(bob.caller, bob.id, web_target("https://push.example.net/x", agent.public, agent.auth))
        assert found.value.reason is RelayReason.PUSH_NOT_OFFERED


async def test_the_double_refuses_what_a_push_service_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as here:
        endpoint, agent = here.service.subscribe(public_bytes(KEY))
        good = web_target(endpoint, agent.public, agent.auth)
        assert (await here.sender.send(good)).result is PushResult.SENT

        async def refused(sender: WebPushSender, subscription: WebTarget = good) -> str:
            here.service.refused.clear()
            assert (await sender.send(subscription)).result in {PushResult.REFUSED, PushResult.GONE}
            [(_, why)] = here.service.refused
            return why

        hosts, clock = HostList((here.service.host,)), here.world.clock
        other = WebPushSender(private_key(b"o" * 64), hosts, "mailto:a@b.c", clock)
        assert await refused(other) == "another sender's key"
        nobody = WebPushSender(KEY, hosts, "me", clock)
        assert await refused(nobody) == "nobody to reach"
        stranger = UserAgent()
        assert "not for this subscription" in await refused(
            here.sender, web_target(endpoint, stranger.public, agent.auth)
        )
        assert "not for this subscription" in await refused(
            here.sender, web_target(endpoint, agent.public, stranger.auth)
        )
        assert await refused(here.sender, web_target(f"{here.service.origin}/none", agent.public, agent.auth)) == (
            "no such subscription"
        )
        real = vapid
        for change, why in (
            (lambda key, origin, subject, now: real(key, "https://x.test", subject, now), "another push service"),
            (lambda key, origin, subject, now: real(key, origin, subject, now - 50_000), "over, or lives too long"),
            (lambda key, origin, subject, now: real(key, origin, subject, now + 50_000), "over, or lives too long"),
            (lambda key, origin, subject, now: real(key, origin, subject, now)[:-4] + "AAAA", "not signed by its key"),
            (lambda key, origin, subject, now: "Bearer x", "no vapid"),
        ):
            monkeypatch.setattr(web, "vapid", change)
            assert why in await refused(here.sender)
        monkeypatch.setattr(web, "vapid", real)
        assert (await here.sender.send(good)).result is PushResult.SENT
        await other.close()
        await nobody.close()
