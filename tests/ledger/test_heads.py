"""Signing heads: only what is durable, never less than what was signed, kept apart before it is published."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.tlog.makelog import KeySigner, MemoryKeeper, MemoryStore, entry, grown
from tests.tlog.naive import naive_root

from letterlock.ledger.errors import SigningError, SigningReason
from letterlock.ledger.heads import FileHeadKeeper, HeadSigner
from letterlock.wire.tlog.checkpoint import Checkpoint
from letterlock.wire.tlog.hashes import pack_peaks
from letterlock.wire.tlog.note import KeyType, SignatureLine, with_signatures
from letterlock.wire.tlog.verdict import Witnessing

ENTRIES = [entry(number) for number in range(600)]


def reason(signer: HeadSigner) -> SigningReason:
    with pytest.raises(SigningError) as caught:
        signer.start()
    return caught.value.reason


def extended(store: MemoryStore, size: int) -> None:
    """The store grows to the first ``size`` entries."""
    other = grown(ENTRIES[:size])
    store.rows, store.tiles, store.the_head = other.rows, other.tiles, other.the_head


def test_signs_what_is_committed_and_keeps_it_in_both_places() -> None:
    store, keeper, signer = grown(ENTRIES[:300]), MemoryKeeper(), KeySigner()
    heads = HeadSigner(store, signer, keeper)
    assert heads.start() is None
    assert heads.status().signed_size == -1
    head = heads.sign()
    assert head.checkpoint == Checkpoint(signer.name, 300, naive_root(ENTRIES[:300]))
    assert keeper.note == store.checkpoints[300] == head.note
    assert heads.last is head
    assert heads.status().witnessing is Witnessing.UNWITNESSED
    assert (heads.status().size, heads.status().signed_size, heads.status().origin) == (300, 300, signer.name)


def test_the_same_size_is_signed_once() -> None:
    store, signer = grown(ENTRIES[:3]), KeySigner()
    heads = HeadSigner(store, signer, MemoryKeeper())
    heads.start()
    assert heads.sign() is heads.sign()
    assert signer.signed == 1


def test_an_empty_log_may_be_signed() -> None:
    store, keeper = MemoryStore(), MemoryKeeper()
    heads = HeadSigner(store, KeySigner(), keeper)
    heads.start()
    assert heads.sign().checkpoint.size == 0
    again = HeadSigner(grown(ENTRIES[:2]), KeySigner(), keeper)
    assert again.start() is not None
    assert again.sign().checkpoint.size == 2


def test_nothing_is_signed_before_start() -> None:
    with pytest.raises(SigningError, match="not started"):
        HeadSigner(MemoryStore(), KeySigner(), MemoryKeeper()).sign()


@dataclass
class Diary:
    """Writes down in which order things happen, and breaks where it is told to."""

    happened: list[str] = field(default_factory=list)
    break_at: str = ""

    def note(self, what: str) -> None:
        self.happened.append(what)
        if what == self.break_at:
            raise OSError("power cut")


def diary_of(store: MemoryStore, keeper: MemoryKeeper, diary: Diary) -> HeadSigner:
    class Signer(KeySigner):
        def sign(self, message: bytes) -> bytes:
            diary.note("sign")
            return super().sign(message)

    class Keeper(MemoryKeeper):
        def save(self, note: bytes) -> None:
            diary.note("keep")
            keeper.note = note

        def load(self) -> bytes | None:
            return keeper.note

    class Store(MemoryStore):
        def save_checkpoint(self, size: int, note: bytes) -> None:
            diary.note("store")
            store.save_checkpoint(size, note)

    return HeadSigner(Store(store.rows, store.tiles, store.the_head, store.checkpoints), Signer(), Keeper())


def test_the_order_and_a_crash_at_every_step() -> None:
    for broken in ("", "sign", "keep", "store"):
        store, keeper, diary = grown(ENTRIES[:300]), MemoryKeeper(), Diary()
        heads = diary_of(store, keeper, diary)
        heads.start()
        diary.break_at = broken
        if broken:
            with pytest.raises(OSError, match="power cut"):
                heads.sign()
        else:
            heads.sign()
            assert diary.happened == ["sign", "keep", "store"]
        # Whatever was reached, a restart goes on, and both places agree on all that was signed.
        again = HeadSigner(store, KeySigner(), keeper)
        found = again.start()
        assert (found is None) is (broken in {"sign", "keep"})
        extended(store, 400)
        assert again.sign().checkpoint.size == 400
        assert keeper.note == store.checkpoints[400]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 299])
def test_an_older_copy_of_the_store_is_not_signed(size: int) -> None:
    keeper = MemoryKeeper()
    heads = HeadSigner(grown(ENTRIES[:300]), KeySigner(), keeper)
    heads.start()
    heads.sign()
    assert reason(HeadSigner(grown(ENTRIES[:size]), KeySigner(), keeper)) is SigningReason.STORE_BEHIND_SIGNED_HEAD
    for grown_to in (300, 301, 600):
        assert HeadSigner(grown(ENTRIES[:grown_to]), KeySigner(), keeper).start() is not None


@pytest.mark.parametrize("place", [0, 100, 255, 299])
@pytest.mark.parametrize("size", [300, 301, 600])
def test_another_history_is_not_signed(place: int, size: int) -> None:
    keeper = MemoryKeeper()
    heads = HeadSigner(grown(ENTRIES[:300]), KeySigner(), keeper)
    heads.start()
    heads.sign()
    other = [*ENTRIES[:place], entry(9999), *ENTRIES[place + 1 : size]]
    refusing = HeadSigner(grown(other), KeySigner(), keeper)
    assert reason(refusing) is SigningReason.STORE_CONTRADICTS_SIGNED_HEAD
    with pytest.raises(SigningError, match="not started"):
        refusing.sign()


def test_rows_that_are_missing_under_a_signed_head_stop_signing() -> None:
    store, keeper = grown(ENTRIES), MemoryKeeper()
    heads = HeadSigner(store, KeySigner(), keeper)
    heads.start()
    heads.sign()
    extra = grown([*ENTRIES, entry(7000)])
    del extra.tiles[0, 1]
    keeper_only = HeadSigner(extra, KeySigner(), keeper)
    assert reason(keeper_only) is SigningReason.STORE_CONTRADICTS_SIGNED_HEAD


def test_a_store_that_goes_back_while_running_is_not_signed() -> None:
    store = grown(ENTRIES[:300])
    heads = HeadSigner(store, KeySigner(), MemoryKeeper())
    heads.start()
    heads.sign()
    extended(store, 200)
    with pytest.raises(SigningError, match="behind signed head"):
        heads.sign()
    other = grown([*ENTRIES[:299], entry(7)])
    store.the_head = other.the_head
    with pytest.raises(SigningError, match="contradicts"):
        heads.sign()


def test_kept_heads_of_another_log_or_forged_ones_are_refused() -> None:
    store = grown(ENTRIES[:3])
    stranger = KeySigner(seed=b"\x99" * 32)
    text = Checkpoint(stranger.name, 1, naive_root(ENTRIES[:1])).text()
    forged = with_signatures(text, [SignatureLine.by(stranger.verifier_key, stranger.sign(text))])
    for note in (forged, b"", b"junk"):
        assert reason(HeadSigner(store, KeySigner(), MemoryKeeper(note))) is SigningReason.KEPT_HEAD_NOT_OURS


def test_an_empty_head_with_another_root_is_a_contradiction() -> None:
    signer = KeySigner()
    text = Checkpoint(signer.name, 0, bytes(32)).text()
    note = with_signatures(text, [SignatureLine.by(signer.verifier_key, signer.sign(text))])
    heads = HeadSigner(grown(ENTRIES[:3]), signer, MemoryKeeper(note))
    assert reason(heads) is SigningReason.STORE_CONTRADICTS_SIGNED_HEAD


def test_a_signer_must_be_a_log_key_and_sign_well() -> None:
    wrong_type = KeySigner(key_type=KeyType.COSIGNATURE_V1)
    assert reason(HeadSigner(MemoryStore(), wrong_type, MemoryKeeper())) is SigningReason.SIGNER_IS_NOT_A_LOG_KEY

    class Broken(KeySigner):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b"!")

    store, keeper = grown(ENTRIES[:3]), MemoryKeeper()
    heads = HeadSigner(store, Broken(), keeper)
    heads.start()
    with pytest.raises(SigningError, match="bad signature"):
        heads.sign()
    assert keeper.note is None
    assert store.checkpoints == {}


def test_the_file_keeper_replaces_whole_files(tmp_path: Path) -> None:
    keeper = FileHeadKeeper(tmp_path / "head")
    assert keeper.load() is None
    for note in (b"one", b"two"):
        keeper.save(note)
        assert keeper.load() == note
    assert [path.name for path in tmp_path.iterdir()] == ["head"]
    with pytest.raises(FileNotFoundError):
        FileHeadKeeper(tmp_path / "missing" / "head").save(b"x")


def test_heads_fit_what_storage_keeps() -> None:
    store = grown(ENTRIES[:7])
    size, packed = store.head()
    assert size == 7
    assert len(packed) == 3 * 32
    assert pack_peaks(()) == b""
