"""The confusion matrix (S5), the same words on every surface (S12), nothing readable left (S13), true counts (S37)."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from letterlock.lab.demo.world import start_gateway
from letterlock.lab.scenarios import Shown, Truth, play
from letterlock.lab.scenarios.counted import counted
from letterlock.lab.scenarios.matrix import Matrix
from letterlock.lab.scenarios.run import EPOCHS
from letterlock.lab.scenarios.truth import SHARES, at_device, at_server
from letterlock.lab.sweep import Canary, Directory, File, sweep


@pytest.mark.attack("A3", "A16")
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_nothing_is_shown_too_high_and_the_counts_are_true(tmp_path: Path, count: int) -> None:
    gateway = await start_gateway(tmp_path)
    try:
        await asyncio.sleep(1.5)
        before = await counted(gateway, tmp_path / "before")
        outcome = await play(tmp_path, gateway, count, seed=count)
        await asyncio.sleep(2.5)  # a head is signed every second, a purge made every second
        after = await counted(gateway, tmp_path / "after")
        report = sweep(
            [Canary("marker", outcome.marker)],
            [
                Directory(gateway.folder, "gateway files"),
                File(gateway.log, "gateway log", present="tenant_created"),
            ],
        )
    finally:
        await gateway.stop()
    for matrix in (outcome.server, outcome.device):
        assert matrix.messages == count
        assert matrix.too_high == 0, matrix.counts
        assert matrix.exact >= 0.99, matrix.counts
        assert {truth for truth, _ in matrix.counts} == set(Truth)
    assert outcome.device.total(Shown.ATTESTED) == outcome.device.counts[Truth.GENUINE, Shown.ATTESTED] > count / 3
    assert outcome.wrong_text == 0
    assert outcome.compared > count / 5
    assert outcome.differing == 0
    # Of the group's making: one commit an epoch, one that added the recipient, and its welcome. A quarantined
    # submission has a record of its acceptance (grade NONE) and an entry of its own.
    handshakes = EPOCHS + 2
    accepted = after.accepted - before.accepted - handshakes
    assert accepted == outcome.statuses["accepted"] + outcome.statuses["quarantined"]
    assert after.quarantined - before.quarantined == outcome.statuses["quarantined"]
    counts = after.submissions - before.submissions
    assert +counts == Counter(outcome.streamed)
    assert report.proven
    assert report.hits == 0


def test_a_matrix_finds_what_is_too_high_and_what_is_missed() -> None:
    matrix = Matrix("a surface", at_server)
    matrix.add(Truth.GENUINE, Shown.FRAMED)
    assert matrix.holds
    matrix.add(Truth.RANDOM, Shown.FRAMED)
    assert (matrix.too_high, matrix.holds) == (1, False)
    missed = Matrix("a device", at_device)
    missed.add(Truth.GENUINE, Shown.ATTESTED)
    missed.add(Truth.GENUINE, Shown.REFUSED)
    assert (missed.too_high, missed.exact, missed.holds) == (0, 0.5, False)
    assert "attested" in [str(column.header) for column in missed.table().columns]


def test_the_shares_are_of_a_hundred_and_name_every_truth() -> None:
    assert sum(SHARES.values()) == 100
    assert set(SHARES) == set(Truth)
    assert all(at_device(truth) <= max(at_server(truth), Shown.ATTESTED) for truth in Truth)
    assert [truth for truth in Truth if at_device(truth) is Shown.ATTESTED] == [Truth.GENUINE]
