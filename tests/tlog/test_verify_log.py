"""A log is damaged in every way that S39 names; the verifier says what and where."""

import random

import pytest
from tests.tlog.makelog import KeySigner, MemoryLog, entry, log_of
from tests.tlog.naive import naive_root
from tests.tlog.test_note import cosigned

from letterlock.wire.tlog.checkpoint import Checkpoint
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.note import SignatureLine, parse_note, with_signatures
from letterlock.wire.tlog.tiles import encode_bundle, split_bundle
from letterlock.wire.tlog.verdict import Finding, Gravity, HeldHead, Schema, Verdict, Witnessing
from letterlock.wire.tlog.verify import held_from_note, verify_log

KEY = KeySigner().verifier_key
SIZE = 700
ENTRIES = [entry(number) for number in range(SIZE)]
SOUND = log_of(ENTRIES)


def copy() -> MemoryLog:
    return MemoryLog(dict(SOUND.files))


def bundle_path(index: int, size: int = SIZE) -> str:
    width = min(256, size - index // 256 * 256)
    return f"tile/entries/{index // 256:03d}" + ("" if width == 256 else f".p/{width}")


def set_entry(log: MemoryLog, index: int, value: bytes, size: int = SIZE) -> None:
    path = bundle_path(index, size)
    entries = split_bundle(log.files[path], min(256, size - index // 256 * 256))
    entries[index % 256] = value
    log.files[path] = encode_bundle(entries)


def held_at(size: int, entries: list[bytes] | None = None) -> HeldHead:
    return HeldHead(size, naive_root((entries or ENTRIES)[:size]))


def told(verdict: Verdict) -> tuple[Finding | None, int | None, int | None]:
    return verdict.finding, verdict.first_bad, verdict.bad_before


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 700])
def test_sound_logs_verify_and_count(size: int) -> None:
    verdict = verify_log(log_of(ENTRIES[:size]), KEY, held=[held_at(n) for n in (0, size // 2, size)])
    assert verdict.finding is None
    assert verdict.first_bad is None
    assert verdict.checked == size
    assert verdict.kinds == ({"gateway_started": size} if size else {})
    assert verdict.witnessing is Witnessing.UNWITNESSED
    assert verdict.head is not None
    assert verdict.head.checkpoint.root == naive_root(ENTRIES[:size])


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, 512, 699])
def test_flipped_entry_is_found_to_the_index(index: int) -> None:
    log = copy()
    changed = bytearray(ENTRIES[index])
    changed[20] ^= 1
    set_entry(log, index, bytes(changed))
    assert told(verify_log(log, KEY)) == (Finding.ENTRY_CHANGED, index, index + 1)


def test_every_single_index_is_found_exactly() -> None:
    for index in range(0, SIZE, 9):
        log = copy()
        set_entry(log, index, entry(10_000))
        assert told(verify_log(log, KEY, schema=Schema.ANY)) == (Finding.ENTRY_CHANGED, index, index + 1)


@pytest.mark.parametrize("pair", [(3, 4), (0, 699), (250, 260), (600, 698)])
def test_reordered_entries_are_found_to_the_index(pair: tuple[int, int]) -> None:
    log = copy()
    first, second = pair
    set_entry(log, first, ENTRIES[second])
    set_entry(log, second, ENTRIES[first])
    assert told(verify_log(log, KEY)) == (Finding.ENTRIES_REORDERED, first, first + 1)


def test_duplicated_entry_is_found_to_the_index() -> None:
    log = copy()
    set_entry(log, 300, ENTRIES[299])
    assert told(verify_log(log, KEY)) == (Finding.ENTRY_CHANGED, 300, 301)


def test_dropped_tail_is_found_against_a_head_held_elsewhere_only() -> None:
    shorter = log_of(ENTRIES[:600])
    # A validly signed older log is all that it shows: without a head from elsewhere nothing is wrong.
    assert verify_log(shorter, KEY).finding is None
    for held in (held_at(SIZE), held_from_note(SOUND.files["checkpoint"], KEY)):
        verdict = verify_log(shorter, KEY, held=[held_at(100), held])
        assert told(verdict) == (Finding.TAIL_DROPPED, 600, 601)
        assert Finding.TAIL_DROPPED.gravity is Gravity.FORKED_OR_ROLLED_BACK


def test_tail_cut_from_the_files_is_missing_data_to_the_index() -> None:
    log = copy()
    del log.files[bundle_path(699)]
    assert told(verify_log(log, KEY)) == (Finding.DATA_MISSING, 512, 513)
    log = copy()
    log.files[bundle_path(699)] = encode_bundle(ENTRIES[512:650])
    assert told(verify_log(log, KEY)) == (Finding.DATA_MALFORMED, 650, 651)
    log = copy()
    del log.files[bundle_path(300)]
    assert told(verify_log(log, KEY)) == (Finding.DATA_MISSING, 256, 257)
    assert Finding.DATA_MISSING.gravity is Gravity.CANNOT_VERIFY


def rewritten(start: int) -> MemoryLog:
    """All files made anew from another history that parts at ``start``, under the old signed checkpoint."""
    other = log_of([*ENTRIES[:start], *(entry(50_000 + number) for number in range(start, SIZE))])
    other.files["checkpoint"] = SOUND.files["checkpoint"]
    return other


@pytest.mark.parametrize("start", [0, 100, 256, 512, 600, 699])
def test_rewritten_tail_is_narrowed_by_held_heads(start: int) -> None:
    log = rewritten(start)
    verdict = verify_log(log, KEY)
    assert told(verdict) == (Finding.TAIL_REWRITTEN, 0, SIZE)
    held = [held_at(size) for size in range(1, SIZE)]
    assert told(verify_log(log, KEY, held=held)) == (Finding.TAIL_REWRITTEN, start, start + 1)
    if 100 < start < 600:
        held = [held_at(100), held_at(600)]
        assert told(verify_log(log, KEY, held=held)) == (Finding.TAIL_REWRITTEN, 100, 600)


def test_tile_and_bundle_rewritten_together_give_the_tile() -> None:
    other = rewritten(0)
    log = copy()
    for path in ("tile/entries/001", "tile/0/001"):
        log.files[path] = other.files[path]
    assert told(verify_log(log, KEY)) == (Finding.TAIL_REWRITTEN, 256, 512)
    held = [held_at(size) for size in range(200, 600)]
    # Up to the damage the pass knows its own roots, so heads held elsewhere give the place exactly.
    assert told(verify_log(log, KEY, held=held)) == (Finding.TAIL_REWRITTEN, 256, 257)


def test_fork_is_two_signed_heads_that_contradict() -> None:
    mine = log_of([*ENTRIES[:400], *(entry(90_000 + n) for n in range(400))])
    note = SOUND.files["checkpoint"]
    signed = held_from_note(note, KEY)
    verdict = verify_log(mine, KEY, held=[held_at(300), signed])
    assert told(verdict) == (Finding.FORKED, 300, SIZE)
    unsigned = HeldHead(signed.size, signed.root)
    assert told(verify_log(mine, KEY, held=[unsigned]))[0] is Finding.TAIL_REWRITTEN
    forged = HeldHead(signed.size, signed.root, log_of(ENTRIES, KeySigner(seed=b"\x77" * 32)).files["checkpoint"])
    assert told(verify_log(mine, KEY, held=[forged]))[0] is Finding.TAIL_REWRITTEN
    misfit = HeldHead(signed.size, bytes(32), note)
    assert told(verify_log(SOUND, KEY, held=[misfit]))[0] is Finding.TAIL_REWRITTEN


def test_fork_at_the_same_size() -> None:
    other = log_of([*ENTRIES[:699], entry(1)])
    held = held_from_note(SOUND.files["checkpoint"], KEY)
    assert told(verify_log(other, KEY, held=[held_at(699), held])) == (Finding.FORKED, 699, 700)
    assert Finding.FORKED.gravity is Gravity.FORKED_OR_ROLLED_BACK


def test_bad_checkpoints() -> None:
    def found(note: bytes | None, key: KeySigner | None = None) -> Finding | None:
        log = copy()
        if note is None:
            del log.files["checkpoint"]
        else:
            log.files["checkpoint"] = note
        verdict = verify_log(log, (key or KeySigner()).verifier_key)
        assert verdict.first_bad is None
        assert verdict.head is None
        return verdict.finding

    note = SOUND.files["checkpoint"]
    assert found(None) is Finding.CHECKPOINT_MISSING
    assert found(b"") is Finding.CHECKPOINT_MALFORMED
    assert found(note[:-1]) is Finding.CHECKPOINT_MALFORMED
    assert found(note.replace(b"\n700\n", b"\n701\n")) is Finding.BAD_SIGNATURE
    assert found(note, KeySigner(seed=b"\x22" * 32)) is Finding.NOT_SIGNED_BY_LOG
    assert found(note, KeySigner(name="other.test/log")) is Finding.NOT_SIGNED_BY_LOG
    signer = KeySigner()
    text = Checkpoint("other.test/log", 3, bytes(32)).text()
    foreign = with_signatures(text, [SignatureLine.by(signer.verifier_key, signer.sign(text))])
    assert found(foreign) is Finding.OTHER_LOG
    text = b"not a checkpoint\n"
    odd = with_signatures(text, [SignatureLine.by(signer.verifier_key, signer.sign(text))])
    assert found(odd) is Finding.CHECKPOINT_MALFORMED


def test_changed_or_missing_tiles_with_sound_entries() -> None:
    for path, first in (("tile/0/001", 256 + 3), ("tile/0/002.p/188", 512 + 3), ("tile/1/000.p/2", 0)):
        log = copy()
        data = bytearray(log.files[path])
        data[32 * 3 % len(data)] ^= 0x40
        log.files[path] = bytes(data)
        verdict = verify_log(log, KEY)
        assert verdict.finding is Finding.TILE_CHANGED
        assert verdict.first_bad == (first if "tile/1" not in path else 256)
        del log.files[path]
        assert verify_log(log, KEY).finding is Finding.DATA_MISSING


def test_a_flip_in_entry_and_tile_alike_is_no_hiding_place() -> None:
    log = copy()
    changed = entry(4711)
    set_entry(log, 513, changed)
    path = "tile/0/002.p/188"
    log.files[path] = log.files[path][:32] + leaf_hash(changed) + log.files[path][64:]
    assert told(verify_log(log, KEY)) == (Finding.TAIL_REWRITTEN, 0, SIZE)
    assert told(verify_log(log, KEY, held=[held_at(513), held_at(514)])) == (Finding.TAIL_REWRITTEN, 513, 514)


def test_entry_outside_the_schema() -> None:
    entries = [*ENTRIES[:5], b'{"t":"note","text":"hello"}', *ENTRIES[5:7]]
    log = log_of(entries)
    assert told(verify_log(log, KEY)) == (Finding.ENTRY_OUTSIDE_SCHEMA, 5, 6)
    assert verify_log(log, KEY, schema=Schema.ANY).finding is None


def test_tamper_fuzz_detects_everything() -> None:
    """Flips, cuts, additions and deletions at random places of every file: each one is found."""
    dice = random.Random(7)
    sizes = [SIZE, 257, 30]
    logs = {size: log_of(ENTRIES[:size]) for size in sizes}
    log_line = parse_note(SOUND.files["checkpoint"]).lines[0]
    assert str(log_line).startswith(f"— {KEY.name} ")
    missed = []
    for _ in range(400):
        size = dice.choice(sizes)
        log = MemoryLog(dict(logs[size].files))
        path = dice.choice(sorted(log.files))
        data = bytearray(log.files[path])
        kind = dice.choice(["flip", "cut", "add", "delete", "swap"])
        at = dice.randrange(len(data))
        if kind == "flip":
            data[at] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "add":
            data.insert(at, dice.randrange(256))
        elif kind == "swap":
            other = log.files[dice.choice(sorted(log.files))]
            data[:] = other
        if kind == "delete":
            del log.files[path]
        elif bytes(data) == log.files[path]:
            continue
        else:
            log.files[path] = bytes(data)
        verdict = verify_log(log, KEY, schema=Schema.ANY)
        if verdict.finding is None:
            missed.append((size, path, kind, at))
        elif verdict.first_bad is not None:
            assert verdict.bad_before is not None
            assert 0 <= verdict.first_bad < verdict.bad_before
            assert verdict.first_bad < size
    assert missed == []


def test_witnessed_is_shown_only_for_a_known_witness() -> None:
    log = copy()
    log.files["checkpoint"], witness = cosigned(SOUND.files["checkpoint"])
    assert verify_log(log, KEY, witnesses=[witness]).witnessing is Witnessing.WITNESSED
    assert verify_log(log, KEY).witnessing is Witnessing.UNWITNESSED
