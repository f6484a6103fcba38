"""A relay that lies in every way we know of, against devices on every engine: it learns nothing, and each lie is found.

The gateway behind it is real. ``MaliciousRelay.obtained`` looks through everything that passed, and lets the relay's
own engines try every ciphertext; the first test shows that it does find what there is to be found.
"""

import pytest
from tests.engines.adapters import EVERY_ADAPTER, FOREIGN, Chosen
from tests.engines.tsmls import TsMlsEngine
from tests.malicious_relay.conftest import Scene, external_commit
from tests.malicious_relay.relay import Answer, Item, b64, raw

from letterlock.client import events
from letterlock.client.errors import DeviceError, DeviceReason, GateError, GateReason
from letterlock.client.floors import of_account
from letterlock.client.groups import chain_next
from letterlock.model.protection import Protection

pytestmark = [EVERY_ADAPTER, pytest.mark.asyncio(loop_scope="module")]
SECRET = b"CANARY-malicious-relay-words"


async def test_the_control_a_relay_whose_device_was_rightly_added_reads_along(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    await alice.say(ref, SECRET)
    assert await bob.heard() == [SECRET]
    assert scene.relay.obtained([SECRET]) == set()
    spy = await scene.enrol("spy")
    await alice.device.add_account(ref, spy.device.account)
    for victim in (spy, bob):
        await victim.device.sync()
    await bob.say(ref, b"CANARY-for-the-spy-too")
    # The spy's own engine, taken out of its device, opens what the relay saw.
    member = scene.spy()
    member.engine.close()
    member.engine = spy.device.engine
    assert scene.relay.obtained([SECRET, b"CANARY-for-the-spy-too"], member) == {b"CANARY-for-the-spy-too"}


@pytest.mark.attack("A1")
async def test_a_ghost_device_and_a_substituted_key_package(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    carol = await scene.enrol("carol")
    spy = scene.spy()
    ghost = b64(spy.port.key_packages(1)[0])
    commits = len(scene.relay.sent("/commits"))

    def substitute(call: str, answer: Answer) -> None:
        if call.endswith("/claim"):
            answer["packages"][0]["key_package"] = ghost

    def append(call: str, answer: Answer) -> None:
        if call.endswith("/claim"):
            answer["packages"].append({"device_id": "dev_" + "ab" * 16, "key_package": ghost, "last_resort": False})

    def of_another(call: str, answer: Answer) -> None:
        """A true device of another account, as if it were carol's."""
        if call.endswith("/claim"):
            answer["packages"].append(answer["packages"][0] | {"device_id": str(bob.device.device)})

    for lie, reason in (
        (substitute, GateReason.LEAF_NOT_LISTED),
        (append, GateReason.UNKNOWN_DEVICE),
        (of_another, GateReason.UNKNOWN_DEVICE),
    ):
        alice.line.answer = lie
        with pytest.raises(GateError) as caught:
            await alice.device.add_account(ref, carol.device.account)
        assert caught.value.reason is reason
    assert len(scene.relay.sent("/commits")) == commits
    alice.line.honest()
    await alice.say(ref, SECRET)
    assert await bob.heard() == [SECRET]
    assert scene.relay.obtained([SECRET], spy) == set()
    # The acceptance beside it: the claim as the gateway answers it.
    await alice.device.add_account(ref, carol.device.account)
    assert len(scene.relay.sent("/commits")) == commits + 1


@pytest.mark.attack("A2")
async def test_an_external_commit_from_a_stored_group_info(scene: Scene) -> None:
    ref, victims = await scene.group("alice", "bob", "carol")
    alice, bob, carol = victims
    bundle = scene.relay.last_commit()
    spy = scene.spy()
    external = external_commit(spy, raw(bundle["group_id"]), raw(bundle["group_info"]))
    spy.persist()
    for victim in (alice, bob):
        victim.line.slip_in("commit", str(ref), external)
        assert await victim.findings() == [("commit", "external_commit", True)]
        with pytest.raises(DeviceError) as caught:
            await victim.device.send(ref, SECRET)
        assert caught.value.reason is DeviceReason.GROUP_STOPPED
        assert spy.port.leaf_key not in {m.identity for m in victim.device.engine.roster(raw(bundle["group_id"]))}
    # Carol was shown nothing, and goes on speaking in the epoch that the relay is not part of.
    await carol.say(ref, SECRET)
    assert scene.relay.obtained([SECRET], spy) == set()
    # The control: it is a good commit, which carol's engine by itself would have taken.
    carol.device.engine.process(external)
    assert spy.port.leaf_key in {m.identity for m in carol.device.engine.roster(raw(bundle["group_id"]))}


async def test_a_fork_is_found_by_who_sees_both_sides(scene: Scene) -> None:
    ref, (alice, bob, carol) = await scene.group("alice", "bob", "carol")
    group_id = alice.device.group(ref).group_id
    epoch = alice.device.engine.epoch(group_id)
    # Alice's commit is real; bob is told that his won, and never sees hers.
    await alice.device.refresh_keys(ref)
    forged: list[bytes] = []

    def accept(call: str, body: object) -> Answer | None:
        if not call.endswith("/commits") or not isinstance(body, dict):
            return None
        forged.append(raw(body["commit"]))
        chain = chain_next(bytes(32), epoch, forged[-1])
        return {"epoch": epoch + 1, "chain": b64(chain), "leaf_hash": b64(bytes(32))}

    def without_commits(item: Item) -> list[Item]:
        return [] if item["kind"] == "commit" else [item]

    bob.line.instead, bob.line.shape = accept, without_commits
    assert await bob.device.refresh_keys(ref) == epoch + 1
    assert not await carol.findings()
    # One epoch and one roster on both sides, and no common key: what people compare is not the same.
    assert alice.device.engine.epoch(group_id) == bob.device.engine.epoch(group_id)
    assert alice.fingerprint(ref) == carol.fingerprint(ref) != bob.fingerprint(ref)
    # Words of the other side do not open, and are not shown.
    await bob.say(ref, SECRET)
    for victim in (alice, carol):
        assert await victim.findings() == [("application", "refused_by_the_engine", False)]
    await alice.say(ref, SECRET)
    # Besides alice's words, what the others report of bob's.
    assert set(await bob.findings()) == {("application", "refused_by_the_engine", False)}
    said = [event.content for event in await carol.told() if isinstance(event, events.Received)]
    assert said == [SECRET]
    # Whoever is shown both commits of an epoch has the proof, and stops.
    carol.line.slip_in("commit", str(ref), forged[0])
    assert (await carol.findings())[-1] == ("commit", "log_forked", True)
    alice.line.slip_in("commit", str(ref), forged[0])
    assert (await alice.findings())[-1] == ("commit", "log_forked", True)
    assert scene.relay.obtained([SECRET]) == set()


async def test_a_commit_shown_twice_is_no_fork(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    await alice.device.refresh_keys(ref)
    again = raw(scene.relay.last_commit()["commit"])
    assert not await bob.findings()
    for victim in (alice, bob):
        victim.line.slip_in("commit", str(ref), again)
        assert await victim.findings() == [("commit", "wrong_epoch", False)]
    await alice.say(ref, b"going on")
    assert await bob.heard() == [b"going on"]


@pytest.mark.parametrize("sign", ["message", "commit"])
async def test_a_commit_that_is_withheld_is_missed_when_anything_follows(scene: Scene, sign: str) -> None:
    ref, (alice, bob, carol) = await scene.group("alice", "bob", "carol")
    bob.line.shape = lambda item: [] if item["kind"] == "commit" else [item]
    # Alice removes carol; the relay wants bob to go on speaking in the group that carol reads.
    await alice.device.remove_device(ref, carol.device.device)
    assert not await bob.findings()
    if sign == "message":
        await alice.say(ref, SECRET)
        expected = "application"
    else:
        await alice.device.refresh_keys(ref)
        bob.line.slip_in("commit", str(ref), raw(scene.relay.last_commit()["commit"]))
        expected = "commit"
    assert await bob.findings() == [(expected, "commit_missing", True)]
    with pytest.raises(DeviceError) as caught:
        await bob.device.send(ref, SECRET)
    assert caught.value.reason is DeviceReason.GROUP_STOPPED
    assert scene.relay.obtained([SECRET]) == set()


async def test_words_that_are_withheld_are_never_shown_as_received(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    bob.line.shape = lambda item: [] if item["kind"] == "application" else [item]
    message = await alice.device.send(ref, SECRET)
    await alice.device.flush()
    assert await bob.heard() == []
    found = await alice.told()
    assert not [event for event in found if isinstance(event, events.ReceiptSeen) and event.message == message.value]
    bob.line.honest()
    await alice.say(ref, b"next")
    findings = [event for event in await bob.told() if isinstance(event, events.Finding)]
    assert [(event.operation, event.reason) for event in findings] == [("application", "messages_missing")]


@pytest.mark.attack("A1")
async def test_an_older_list_and_an_older_log_are_refused(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    await bob.device.publish_list()
    await alice.device.learn_account(bob.device.account)
    assert alice.device.directory.version(bob.device.account) == 2
    old = scene.relay.sent(f"{bob.device.account}/devices")[0]["device_list"]

    def older(call: str, answer: Answer) -> None:
        if call.endswith("/device-list"):
            answer["current_version"] = 1
        if call.endswith("/claim"):
            answer["device_list"], answer["version"] = old, 1

    alice.line.answer = older
    for act in (alice.device.learn_account, lambda account: alice.device.add_account(ref, account)):
        with pytest.raises(GateError) as caught:
            await act(bob.device.account)
        assert caught.value.reason is GateReason.LIST_REFUSED
    assert alice.device.directory.version(bob.device.account) == 2

    def older_log(call: str, answer: Answer) -> None:
        if call.endswith("/commits"):
            answer["chain"] = b64(alice.device.group(ref).chain)

    alice.line.answer = older_log
    await alice.device.refresh_keys(ref)
    assert await alice.findings() == [("commit", "log_forked", True)]


async def test_an_older_mailbox_is_not_taken_twice(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    await alice.say(ref, SECRET)
    assert await bob.heard() == [SECRET]
    last = bob.line.shown[-1]
    for item in [item for item in bob.line.shown if item["kind"] == "application"]:
        bob.line.slip_in("application", str(ref), raw(item["body"]))
    found = await bob.told()
    assert {type(event) for event in found} == {events.Finding}
    assert {(event.operation, event.reason) for event in found if isinstance(event, events.Finding)} == {
        ("application", "refused_by_the_engine")
    }
    assert last["sequence"] < bob.device.cursor()
    await alice.say(ref, b"going on")
    assert await bob.heard() == [b"going on"]


@pytest.mark.attack("A1")
async def test_a_welcome_played_again_opens_nothing(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    welcome = raw(scene.relay.last_commit()["welcomes"][0]["welcome"])
    before = bob.fingerprint(ref)
    bob.line.slip_in("welcome", str(ref), welcome)
    bob.line.slip_in("welcome", "grp_" + "cd" * 16, welcome)
    assert await bob.findings() == [("welcome", "group_exists", False), ("welcome", "not_for_us", False)]
    assert bob.fingerprint(ref) == before
    await alice.say(ref, SECRET)
    assert await bob.heard() == [SECRET]


@pytest.mark.attack("A1")
async def test_another_group_under_the_same_id_does_not_take_the_place_of_the_first(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    group_id = alice.device.group(ref).group_id
    before = bob.fingerprint(ref)
    # The relay has an account like anybody else, and hands itself one of bob's key packages.
    spy = await scene.enrol("spy")
    claimed = await spy.device.claim(bob.device.account)
    own = spy.device.engine
    own.create(group_id)
    bundle = own.add(group_id, list(claimed.values()))
    own.confirm(group_id)

    def members(call: str, answer: Answer) -> None:
        if call.startswith("GET") and "/groups/" in call:
            answer["members"].append({"account_id": str(spy.device.account), "device_id": str(spy.device.device)})

    other = "grp_" + "ef" * 16
    bob.line.answer = members
    bob.line.instead = lambda call, body: (
        {
            "group": other,
            "group_id": b64(group_id),
            "epoch": 1,
            "chain": b64(bytes(32)),
            "members": [{"account_id": str(spy.device.account), "device_id": str(spy.device.device)}],
        }
        if call == f"GET /v1/groups/{other}"
        else None
    )
    bob.line.slip_in("welcome", other, bundle.welcomes[0])
    assert await bob.findings() == [("welcome", "group_exists", False)]
    assert bob.fingerprint(ref) == before
    await bob.say(ref, SECRET)
    assert await alice.heard() == [SECRET]
    member = scene.spy()
    member.engine.close()
    member.engine = own
    assert scene.relay.obtained([SECRET], member) == set()


@pytest.mark.attack("A4")
async def test_a_peer_that_is_said_to_have_nothing_gets_nothing(scene: Scene) -> None:
    ref, (alice, _) = await scene.group("alice", "bob")
    carol = await scene.enrol("carol")
    commits, sent = len(scene.relay.sent("/commits")), len(scene.relay.messages())

    def nothing(call: str, answer: Answer) -> None:
        if call.endswith("/claim"):
            answer["exhausted"] = [entry["device_id"] for entry in answer["packages"]]
            answer["packages"] = []

    alice.line.answer = nothing
    with pytest.raises(DeviceError) as caught:
        await alice.device.add_account(ref, carol.device.account)
    assert caught.value.reason is DeviceReason.KEY_PACKAGES_EXHAUSTED

    def no_list(call: str, answer: Answer) -> None:
        if call.endswith("/claim"):
            answer["packages"] = []
        if call.endswith("/device-list"):
            answer["versions"], answer["current_version"] = [], 0

    alice.line.answer = no_list
    with pytest.raises(GateError) as refused:
        await alice.device.add_account(ref, carol.device.account)
    assert refused.value.reason is GateReason.LIST_REFUSED
    assert (len(scene.relay.sent("/commits")), len(scene.relay.messages())) == (commits, sent)


@pytest.mark.attack("A14")
@pytest.mark.needs("node")
@pytest.mark.parametrize("operation", ["downgraded_welcome", "forge_welcome"])
async def test_a_group_that_is_born_downgraded_is_not_joined(scene: Scene, chosen: Chosen, operation: str) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    # The relay's own account, on an engine that can say of a group that it is not encrypted.
    spy = await scene.enrol("spy", chosen(FOREIGN))
    claimed = await spy.device.claim(bob.device.account)
    new = await spy.device.create_group()
    group_id = spy.device.group(new).group_id
    engine = spy.device.engine
    assert isinstance(engine, TsMlsEngine)
    wrong = {"wrong": "none"} if operation == "forge_welcome" else {}
    welcome = engine.forged(operation, group_id, package=claimed[bob.device.device], **wrong)["welcome"]
    member = {"account_id": str(spy.device.account), "device_id": str(spy.device.device)}
    me = {"account_id": str(bob.device.account), "device_id": str(bob.device.device)}
    view = {"group": str(new), "group_id": b64(group_id), "epoch": 1, "chain": b64(bytes(32)), "members": [member, me]}
    made_up: dict[str, Answer] = {f"GET /v1/groups/{new}": view, f"GET /v1/groups/{new}/commits": {"commits": []}}
    bob.line.instead = lambda call, body: made_up.get(call)
    bob.line.slip_in("welcome", str(new), raw(welcome))
    found = await bob.told()
    if operation == "forge_welcome":
        # The control: the same group, without that word, is joined.
        assert found == [events.GroupJoined(new.value, 1)]
        return
    assert [(type(event), getattr(event, "operation", "")) for event in found] == [(events.Finding, "welcome")]
    assert new not in bob.device.groups()
    # What there was goes on as it was.
    await bob.say(ref, SECRET)
    assert await alice.heard() == [SECRET]
    assert scene.relay.obtained([SECRET]) == set()


@pytest.mark.attack("A14")
@pytest.mark.needs("node")
@pytest.mark.parametrize("operation", ["downgraded_welcome", "forge_welcome"])
async def test_an_era_that_the_relay_makes_up_takes_no_groups_place(
    scene: Scene, chosen: Chosen, operation: str
) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    peer = of_account(alice.device.account)
    floor, fingerprint = bob.device.floors.floor(peer), bob.fingerprint(ref)
    group_id = bob.device.group(ref).group_id
    # The relay's account makes the group again under its own id, as a new era would be: one with and one without MLS.
    spy = await scene.enrol("spy", chosen(FOREIGN))
    claimed = await spy.device.claim(bob.device.account)
    engine = spy.device.engine
    assert isinstance(engine, TsMlsEngine)
    engine.create(group_id)
    wrong = {"wrong": "none"} if operation == "forge_welcome" else {}
    welcome = engine.forged(operation, group_id, package=claimed[bob.device.device], **wrong)["welcome"]
    new = "grp_" + "e2" * 16
    members = [
        {"account_id": str(who.device.account), "device_id": str(who.device.device)} for who in (spy, alice, bob)
    ]
    view = {"group": new, "group_id": b64(group_id), "epoch": 1, "chain": b64(bytes(32)), "members": members}
    made_up: dict[str, Answer] = {f"GET /v1/groups/{new}": view, f"GET /v1/groups/{new}/commits": {"commits": []}}
    bob.line.instead = lambda call, body: made_up.get(call)
    bob.line.slip_in("welcome", new, raw(welcome))
    assert [(operation, stopped) for operation, _, stopped in await bob.findings()] == [("welcome", False)]
    assert list(bob.device.groups()) == [ref]
    assert (bob.device.floors.floor(peer), bob.fingerprint(ref)) == (floor, fingerprint)
    assert floor.protection is Protection.E2EE
    await bob.say(ref, SECRET)
    assert await alice.heard() == [SECRET]
    assert scene.relay.obtained([SECRET]) == set()


@pytest.mark.attack("A18")
async def test_an_old_copy_that_the_relay_lets_in_is_found_by_who_receives(scene: Scene) -> None:
    ref, (alice, bob) = await scene.group("alice", "bob")
    alice.stop()
    copy = alice.path.read_bytes()
    alice.start()
    await alice.say(ref, SECRET)
    assert await bob.heard() == [SECRET]
    alice.stop()
    alice.path.write_bytes(copy)
    alice.start()
    # An honest relay says so at the login.
    with pytest.raises(DeviceError) as caught:
        await alice.device.login()
    assert caught.value.reason is DeviceReason.STATE_ROLLED_BACK
    # This one says nothing of the kind. The same key is used for other words; nobody takes them.
    alice.line.instead = let_in
    await alice.say(ref, SECRET)
    bob.line.slip_in("application", str(ref), scene.relay.messages()[-1])
    assert await bob.findings() == [("application", "refused_by_the_engine", False)]
    assert scene.relay.obtained([SECRET]) == set()


def let_in(call: str, body: object) -> Answer | None:
    """A relay that lets everybody in and takes everything."""
    if call.endswith("/nonce"):
        return {"nonce": b64(bytes(32)), "expires_ms": 1 << 50}
    if call.endswith("/session"):
        numbers = {"mailbox_acknowledged": 0, "mailbox_head": 0, "key_packages": 0, "expires_ms": 1 << 50}
        return {"token": "any", "mailbox_lost": False, **numbers}
    if call.endswith("/messages") and isinstance(body, dict):
        references = [entry["client_message_id"] for entry in body["messages"]]
        return {"results": [{"client_message_id": name, "status": "accepted"} for name in references]}
    return None
