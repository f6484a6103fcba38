"""The confusion matrix (S5), the same words on every surface (S12), nothing readable left (S13), true counts (S37)."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from letterlock.lab.demo.centre import start_centre
from letterlock.lab.demo.world import start_gateway
from letterlock.lab.scenarios import Outcome, Shown, Truth, play
from letterlock.lab.scenarios.__main__ import WIDTH
from letterlock.lab.scenarios.counted import Counted, counted
from letterlock.lab.scenarios.matrix import Matrix
from letterlock.lab.scenarios.run import EPOCHS
from letterlock.lab.scenarios.truth import SHARES, at_device, at_server
from letterlock.lab.sweep import Canary, Directory, File, sweep


@pytest.mark.attack("A3", "A16")
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_nothing_is_shown_too_high_and_the_counts_are_true(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, metrics = tmp_path / "temporary", tmp_path / "metrics.txt"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    centre = await start_centre()
    gateway = await start_gateway(tmp_path, centre.port)
    try:
        await asyncio.sleep(1.5)
        before = await counted(gateway, tmp_path / "before")
        outcome = await play(tmp_path, gateway, centre, count, seed=count)
        await asyncio.sleep(2.5)  # a head is signed every second, a purge made every second
        after = await counted(gateway, tmp_path / "after")
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            told = await http.get("/metrics", headers={"authorization": f"Bearer {gateway.api_key}"})
        metrics.write_text(told.text)
        numbers = [Canary(f"numbers {at}", digits, is_number=True) for at, digits in enumerate(outcome.prefixes)]
        report = sweep(
            [Canary("marker", outcome.marker), *numbers],
            [
                Directory(gateway.folder, "gateway files"),
                Directory(scratch, "gateway temporary files"),
                File(gateway.log, "gateway log", present="tenant_created"),
                File(metrics, "gateway metrics", present="letterlock_submissions"),
            ],
        )
    finally:
        await gateway.stop()
        await centre.stop()
    if count == 10_000:  # `make test-long` prints them
        with capsys.disabled():
            Console(width=WIDTH).print("", outcome.server.table(), outcome.device.table())
    for matrix in (outcome.server, outcome.device):
        assert matrix.messages == count
        assert matrix.too_high == 0, matrix.counts
        assert matrix.exact >= 0.99, matrix.counts
        assert {truth for truth, _ in matrix.counts} == set(Truth)
    assert outcome.device.total(Shown.ATTESTED) == outcome.device.counts[Truth.GENUINE, Shown.ATTESTED] > count / 4
    assert outcome.wrong_text == 0
    assert outcome.texts.wrong == Counter()
    assert outcome.texts.compared > count / 10
    assert outcome.compared > count / 6
    assert outcome.differing == 0
    counts = after.submissions - before.submissions
    assert +counts == Counter(outcome.submitted)
    _the_ledger_counts_what_the_laboratory_knows(outcome, before, after)
    assert report.proven
    assert report.hits == 0, report.lines()


def _the_ledger_counts_what_the_laboratory_knows(outcome: Outcome, before: Counted, after: Counted) -> None:
    sms = outcome.texts.truths
    entries = after.entries - before.entries
    # Of the group's making: one commit an epoch, one that added the recipient, and its welcome. A quarantined
    # submission has a record of its acceptance (grade NONE) and an entry of its own. The first notice stands beside
    # the mix, so that there is one to repeat.
    handshakes = EPOCHS + 2
    notices = sms[Truth.SMS_NOTICE] + 1
    waited = sms[Truth.SMS_HELD] + sms[Truth.SMS_RELEASED]
    taken = outcome.statuses["accepted"] + outcome.statuses["quarantined"]
    readable = notices + sms[Truth.SMS_AGREED] + waited
    assert after.accepted - before.accepted - handshakes == taken + readable
    assert entries["quarantine"] == outcome.statuses["quarantined"]
    asked = sms[Truth.SMS_AGREED] + sms[Truth.SMS_DECLINED] + sms[Truth.SMS_OTHER_WORDS]
    assert entries["refusal"] == sms[Truth.SMS_CLAIMED] + sms[Truth.SMS_NOT_DOWN] + sms[Truth.SMS_OTHER_WORDS]
    assert entries["challenge"] == asked + waited
    assert entries["consent"] == asked + sms[Truth.SMS_RELEASED]
    assert entries["hold"] == waited
    assert entries["release"] == sms[Truth.SMS_RELEASED]
    assert entries["fallback"] == sms[Truth.SMS_AGREED] + sms[Truth.SMS_RELEASED]
    assert after.inbound - before.inbound == sms[Truth.SMS_INBOUND]
    steps = after.downgrades - before.downgrades
    assert steps["refused"] == sms[Truth.SMS_CLAIMED] + sms[Truth.SMS_NOT_DOWN]
    assert steps["declined_tenant_asserted"] == sms[Truth.SMS_DECLINED]
    assert steps["void"] == sms[Truth.SMS_OTHER_WORDS]


def test_a_matrix_finds_what_is_too_high_and_what_is_missed() -> None:
    matrix = Matrix("a surface", at_server)
    matrix.add(Truth.GENUINE, Shown.TRACKED)
    assert matrix.holds
    matrix.add(Truth.RANDOM, Shown.FRAMED)
    assert (matrix.too_high, matrix.holds) == (1, False)
    for truth, shown, too_high in (
        (Truth.SMS_NOTICE, Shown.SERVERS_READ, 1),
        (Truth.SMS_HELD, Shown.CLEAR, 1),
        (Truth.SMS_CLAIMED, Shown.CLEAR, 1),
        (Truth.SMS_AGREED, Shown.FRAMED, 1),
        (Truth.SMS_AGREED, Shown.CLEAR, 0),
    ):
        of_sms = Matrix("a surface", at_server)
        of_sms.add(truth, shown)
        assert of_sms.too_high == too_high
    missed = Matrix("a device", at_device)
    missed.add(Truth.GENUINE, Shown.ATTESTED)
    missed.add(Truth.GENUINE, Shown.REFUSED)
    assert (missed.too_high, missed.exact, missed.holds) == (0, 0.5, False)
    assert "attested" in [str(column.header) for column in missed.table().columns]


def test_the_shares_are_of_a_hundred_and_name_every_truth() -> None:
    assert sum(SHARES.values()) == 100
    assert set(SHARES) == set(Truth)
    assert {at_server(truth) for truth in Truth} == set(Shown) - {Shown.SERVERS_READ, Shown.FRAMED, Shown.ATTESTED}
    assert all(at_device(truth) <= at_server(truth) for truth in Truth if truth is not Truth.GENUINE)
    sent = {Truth.SMS_NOTICE, Truth.SMS_AGREED, Truth.SMS_RELEASED}
    assert {truth for truth in Truth if at_device(truth) is Shown.CLEAR} == sent
    assert [truth for truth in Truth if at_device(truth) is Shown.ATTESTED] == [Truth.GENUINE]
