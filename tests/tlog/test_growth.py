"""The integration step against the definition, one commit at a time and in any cut; restoring from rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tlog.makelog import MemoryStore, entry, grown
from tests.tlog.naive import naive_root

from letterlock.ledger.appender import Appender, restore_state
from letterlock.ledger.errors import LedgerError, LedgerReason
from letterlock.wire.tlog.errors import TileError, TreeError
from letterlock.wire.tlog.growth import FullTile, TreeState, edge_widths, integrate, integrate_hashes, peaks_of_edge
from letterlock.wire.tlog.hashes import EMPTY_ROOT, Frontier, leaf_hash, pack_peaks, root_of
from letterlock.wire.tlog.tiles import split_tile, tile_root


@given(st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_cut_into_commits_gives_the_same_log(cuts: list[int]) -> None:
    state = TreeState()
    entries = [b"%d" % n for n in range(sum(cuts))]
    tiles: list[FullTile] = []
    at = 0
    for cut in cuts:
        step = integrate(state, entries[at : at + cut])
        assert step.first == at
        assert step.leaf_hashes == tuple(map(leaf_hash, entries[at : at + cut]))
        at += cut
        state = step.state
        tiles += step.tiles
        assert state.size == at
        assert peaks_of_edge(state.edge) == state.peaks
    whole = integrate(TreeState(), entries)
    assert whole.state == state
    assert list(whole.tiles) == tiles
    assert state.root == naive_root(entries)
    assert TreeState.restore(state.size, state.peaks, state.edge) == state


def test_one_by_one_over_a_tile_edge_equals_the_frontier() -> None:
    state = TreeState()
    frontier = Frontier()
    for number in range(1030):
        state = integrate(state, [b"%d" % number]).state
        frontier.push(leaf_hash(b"%d" % number))
        assert (state.size, state.peaks) == (frontier.size, frontier.peaks)
    assert [len(data) // 32 for data in state.edge] == edge_widths(1030) == [6, 4]


def test_second_level_closes_at_65536() -> None:
    leaves = [number.to_bytes(32, "big") for number in range(65_536)]
    step = integrate_hashes(TreeState(), leaves)
    assert step.state.edge == (b"", b"", tile_root(split_tile(step.tiles[-1].data, 256)))
    assert [(tile.level, tile.index) for tile in step.tiles[-2:]] == [(0, 255), (1, 0)]
    assert step.state.root == root_of(leaves)
    assert step.state.edge[2] == step.state.peaks[0]


def test_nothing_appended_changes_nothing() -> None:
    assert integrate(TreeState(), []).state == TreeState()
    assert TreeState().root == EMPTY_ROOT


def test_too_large_an_entry_is_refused() -> None:
    assert integrate(TreeState(), [bytes(65_535)]).state.size == 1
    with pytest.raises(TileError, match="too large"):
        integrate(TreeState(), [bytes(65_536)])


def test_restore_refuses_an_edge_that_does_not_lead_to_the_peaks() -> None:
    state = integrate(TreeState(), [b"a", b"b", b"c"]).state
    with pytest.raises(TreeError):
        TreeState.restore(3, state.peaks[::-1], state.edge)
    with pytest.raises(TreeError):
        TreeState.restore(2, state.peaks, state.edge)
    with pytest.raises(TreeError):
        TreeState.restore(-1, (), ())


def test_appender_discards_adopts_and_goes_on_after_a_restart() -> None:
    store = MemoryStore()
    appender = Appender(restore_state(store))
    assert appender.append(entry(0)) == leaf_hash(entry(0))
    assert appender.pending == [entry(0)]
    appender.discard()
    assert appender.integrate().state == TreeState()
    expected: list[bytes] = []
    for number in range(40):
        burst = [entry(100 * number + place) for place in range(number)]
        for one in burst:
            appender.append(one)
        appender.adopt(appender.write(store, store))
        expected += burst
        if number % 7 == 0:
            appender = Appender(restore_state(store))
    assert store.rows == expected
    assert appender.state.root == naive_root(expected)
    assert store.the_head == (780, pack_peaks(appender.state.peaks))
    assert set(store.tiles) == {(0, 0), (0, 1), (0, 2)}


def test_a_second_writer_is_noticed() -> None:
    appender = Appender(TreeState())
    appender.append(entry(0))
    step = appender.integrate()
    appender.adopt(step)
    with pytest.raises(ValueError, match="another state"):
        appender.adopt(step)


def test_restore_notices_missing_and_changed_rows() -> None:
    def refused(store: MemoryStore) -> LedgerReason:
        with pytest.raises(LedgerError) as caught:
            restore_state(store)
        return caught.value.reason

    entries = [entry(number) for number in range(700)]
    assert restore_state(grown(entries)).size == 700
    store = grown(entries)
    store.rows.pop()
    assert refused(store) is LedgerReason.ROWS_MISSING
    store = grown(entries)
    store.rows[699] = entry(1)
    assert refused(store) is LedgerReason.HEAD_DOES_NOT_FIT_ROWS
    store = grown(entries)
    store.tiles[0, 1] = store.tiles[0, 0]
    assert refused(store) is LedgerReason.HEAD_DOES_NOT_FIT_ROWS
    store.tiles[0, 1] = b"short"
    assert refused(store) is LedgerReason.HEAD_DOES_NOT_FIT_ROWS
    del store.tiles[0, 1]
    assert refused(store) is LedgerReason.ROWS_MISSING
    store = grown(entries)
    store.the_head = (700, store.the_head[1][:-32])
    assert refused(store) is LedgerReason.HEAD_DOES_NOT_FIT_ROWS
