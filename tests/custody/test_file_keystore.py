"""The file key store: what it gives, what it refuses, and that a destroyed key is gone from its file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.custody.keys import keystore, reopened

from letterlock.custody.file_keystore import FileKeyStore
from letterlock.custody.keystore import (
    KeyHandle,
    KeyKind,
    KeyOperation,
    KeyPurpose,
    KeyStore,
    KeyStoreCall,
    KeyStoreError,
    KeyStoreReason,
    Remnant,
)
from letterlock.custody.slots import SlotFile, SlotFileError, SlotFileReason
from letterlock.custody.unlocking import Passphrase, RootKeyFile, Unlock

WRAP = KeyPurpose.STORAGE_GENERATIONS
MAC = KeyPurpose.VAULT_INDEX
SIGN = KeyPurpose.LEDGER_SIGNER
QUICK = 14


def refused(reason: KeyStoreReason) -> pytest.RaisesExc[KeyStoreError]:
    return pytest.RaisesExc(KeyStoreError, check=lambda error: error.reason is reason)


def test_it_is_a_key_store_and_says_what_it_is(tmp_path: Path) -> None:
    store: KeyStore = keystore(tmp_path)
    told = store.capabilities()
    assert not told.hardware
    assert told.development_only
    assert told.kinds == frozenset(KeyKind)
    assert told.destruction_survives == frozenset(Remnant)


def test_wrap_is_bound_to_key_purpose_and_context(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    one = store.ensure("one", KeyKind.WRAP, WRAP, b"")
    two = store.ensure("two", KeyKind.WRAP, WRAP, b"")
    wrapped = store.wrap(one, WRAP, b"row 1", b"k" * 32)
    assert store.unwrap(one, WRAP, b"row 1", wrapped) == b"k" * 32
    assert wrapped != store.wrap(one, WRAP, b"row 1", b"k" * 32)
    assert b"k" * 8 not in wrapped
    with refused(KeyStoreReason.NOT_AUTHENTIC):
        store.unwrap(one, WRAP, b"row 2", wrapped)
    with refused(KeyStoreReason.NOT_AUTHENTIC):
        store.unwrap(two, WRAP, b"row 1", wrapped)
    with refused(KeyStoreReason.WRONG_PURPOSE):
        store.unwrap(one, KeyPurpose.VAULT_SUBJECTS, b"row 1", wrapped)
    for at in range(len(wrapped)):
        with refused(KeyStoreReason.NOT_AUTHENTIC):
            store.unwrap(one, WRAP, b"row 1", wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :])
        with refused(KeyStoreReason.NOT_AUTHENTIC):
            store.unwrap(one, WRAP, b"row 1", wrapped[:at])
    for length in (0, 257):
        with refused(KeyStoreReason.BAD_INPUT):
            store.wrap(one, WRAP, b"", b"k" * length)
    assert store.unwrap(one, WRAP, b"", store.wrap(one, WRAP, b"", b"k" * 256)) == b"k" * 256


def test_mac_and_signature(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    mac = store.ensure("index", KeyKind.MAC, MAC, b"")
    digests = {store.mac(mac, MAC, b"a", b"bc"), store.mac(mac, MAC, b"ab", b"c"), store.mac(mac, MAC, b"", b"abc")}
    assert len(digests) == 3
    assert store.mac(mac, MAC, b"a", b"bc") in digests
    sign = store.ensure("log", KeyKind.SIGN, SIGN, b"")
    public = Ed25519PublicKey.from_public_bytes(store.public(sign, SIGN, b""))
    public.verify(store.sign(sign, SIGN, b"", b"checkpoint"), b"checkpoint")
    with pytest.raises(InvalidSignature):
        public.verify(store.sign(sign, SIGN, b"", b"checkpoint"), b"Checkpoint")


def test_one_key_one_purpose_one_kind(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    handles = {
        KeyKind.WRAP: store.ensure("w", KeyKind.WRAP, WRAP, b""),
        KeyKind.MAC: store.ensure("m", KeyKind.MAC, MAC, b""),
        KeyKind.SIGN: store.ensure("s", KeyKind.SIGN, SIGN, b""),
    }
    calls: tuple[tuple[KeyKind, Callable[[KeyHandle, KeyPurpose], bytes]], ...] = (
        (KeyKind.WRAP, lambda h, p: store.wrap(h, p, b"", b"k")),
        (KeyKind.MAC, lambda h, p: store.mac(h, p, b"", b"k")),
        (KeyKind.SIGN, lambda h, p: store.sign(h, p, b"", b"k")),
        (KeyKind.SIGN, lambda h, p: store.public(h, p, b"")),
    )
    own = {KeyKind.WRAP: WRAP, KeyKind.MAC: MAC, KeyKind.SIGN: SIGN}
    for kind, handle in handles.items():
        for purpose in KeyPurpose:
            for needs, call in calls:
                if purpose is not own[kind]:
                    with refused(KeyStoreReason.WRONG_PURPOSE):
                        call(handle, purpose)
                elif needs is not kind:
                    with refused(KeyStoreReason.WRONG_KIND):
                        call(handle, purpose)
                else:
                    assert call(handle, purpose)
    with refused(KeyStoreReason.WRONG_PURPOSE):
        store.ensure("w", KeyKind.WRAP, KeyPurpose.VAULT_SUBJECTS, b"")
    with refused(KeyStoreReason.WRONG_KIND):
        store.ensure("w", KeyKind.MAC, WRAP, b"")


def test_rotation_keeps_old_versions_until_they_are_destroyed(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    first = store.ensure("kek", KeyKind.WRAP, WRAP, b"")
    wrapped = store.wrap(first, WRAP, b"", b"key")
    second = store.rotate("kek", WRAP, b"")
    assert (first.version, second.version) == (1, 2)
    assert store.ensure("kek", KeyKind.WRAP, WRAP, b"") == second
    assert store.versions("kek", WRAP, b"") == (second, first)
    assert store.unwrap(first, WRAP, b"", wrapped) == b"key"
    store.close()
    store = reopened(tmp_path)
    assert store.unwrap(first, WRAP, b"", wrapped) == b"key"
    store.destroy(first, WRAP, b"")
    store.destroy(first, WRAP, b"")
    with refused(KeyStoreReason.DESTROYED):
        store.unwrap(first, WRAP, b"", wrapped)
    store.close()
    store = reopened(tmp_path)
    with refused(KeyStoreReason.DESTROYED):
        store.unwrap(first, WRAP, b"", wrapped)
    assert store.versions("kek", WRAP, b"") == (second,)
    with refused(KeyStoreReason.UNKNOWN_KEY):
        store.rotate("nothing", WRAP, b"")
    with refused(KeyStoreReason.UNKNOWN_KEY):
        store.destroy(KeyHandle("nothing", 1), WRAP, b"")
    with refused(KeyStoreReason.UNKNOWN_KEY):
        store.wrap(KeyHandle("kek", 3), WRAP, b"", b"k")
    with refused(KeyStoreReason.WRONG_PURPOSE):
        store.destroy(second, MAC, b"")


def test_a_version_is_never_used_twice(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    for version in range(1, 8):
        handle = store.ensure("kek", KeyKind.WRAP, WRAP, b"")
        assert handle.version == version
        store.destroy(handle, WRAP, b"")
        store.close()
        store = reopened(tmp_path)
    assert store.versions("kek", WRAP, b"") == ()


def test_a_destroyed_key_is_not_in_the_file(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    handle = store.ensure("kek", KeyKind.WRAP, WRAP, b"")
    path = tmp_path / "keys"
    store.close()
    slots = SlotFile.open(path)
    [(_, payload)] = list(slots)
    slots.close()
    sealed = payload[-48:]
    assert sealed in path.read_bytes()  # the control
    store = reopened(tmp_path)
    store.destroy(handle, WRAP, b"")
    raw = path.read_bytes()
    assert not any(sealed[at : at + 8] in raw for at in range(len(sealed) - 8))


def test_a_crash_between_tombstone_and_erasure_is_finished(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    old = store.ensure("kek", KeyKind.WRAP, WRAP, b"")
    store.close()
    before = (tmp_path / "keys").read_bytes()
    store = reopened(tmp_path)
    store.destroy(old, WRAP, b"")
    store.close()
    after = (tmp_path / "keys").read_bytes()
    mixed = bytearray(after)
    mixed[4096 : 4096 + 512] = before[4096 : 4096 + 512]  # the key's slot as it was, beside its tombstone
    (tmp_path / "keys").write_bytes(mixed)
    store = reopened(tmp_path)
    assert store.versions("kek", WRAP, b"") == ()
    assert before[4096 : 4096 + 512] not in (tmp_path / "keys").read_bytes()


@pytest.mark.parametrize("kind", ["passphrase", "root key"])
def test_the_right_secret_opens_and_no_other(tmp_path: Path, kind: str) -> None:
    right: Unlock = Passphrase(b"correct horse battery", QUICK)
    wrong: Unlock = Passphrase(b"correct horse batterz", QUICK)
    other: Unlock = RootKeyFile.create(tmp_path / "root1")
    if kind == "root key":
        right, wrong, other = RootKeyFile.create(tmp_path / "root"), RootKeyFile(tmp_path / "root1"), right
    store = FileKeyStore.create(tmp_path / "keys", right)
    handle = store.ensure("k", KeyKind.WRAP, WRAP, b"")
    wrapped = store.wrap(handle, WRAP, b"", b"key")
    store.close()
    for bad in (wrong, other):
        with refused(KeyStoreReason.WRONG_SECRET):
            FileKeyStore.open(tmp_path / "keys", bad)
    store = FileKeyStore.open(tmp_path / "keys", right)
    assert store.unwrap(handle, WRAP, b"", wrapped) == b"key"
    store.close()


@pytest.mark.parametrize("bad", [b"", b"x" * 31, b"x" * 33, bytes(32), b"\xff" * 32])
def test_a_root_key_file_has_32_random_bytes(tmp_path: Path, bad: bytes) -> None:
    keystore(tmp_path).close()
    good = (tmp_path / "root").read_bytes()
    (tmp_path / "root").write_bytes(bad)
    with refused(KeyStoreReason.BAD_ROOT_KEY):
        reopened(tmp_path)
    (tmp_path / "root").write_bytes(good)
    reopened(tmp_path).close()
    (tmp_path / "root").chmod(0o644)
    with pytest.RaisesExc(SlotFileError, check=lambda error: error.reason is SlotFileReason.OPEN_TO_OTHERS):
        reopened(tmp_path)


@pytest.mark.parametrize("length", [0, 11, 1025])
def test_a_passphrase_out_of_bounds_is_refused(tmp_path: Path, length: int) -> None:
    with refused(KeyStoreReason.BAD_INPUT):
        FileKeyStore.create(tmp_path / "keys", Passphrase(b"p" * length, QUICK))
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("log_n", [0, 13, 21, 63])
def test_a_header_cannot_weaken_scrypt_or_make_it_endless(tmp_path: Path, log_n: int) -> None:
    path = tmp_path / "keys"
    FileKeyStore.create(path, Passphrase(b"p" * 12, QUICK)).close()
    raw = path.read_bytes()
    at = raw.index(bytes((1, QUICK)))
    path.write_bytes(raw[: at + 1] + bytes((log_n,)) + raw[at + 2 :])
    with refused(KeyStoreReason.DAMAGED):
        FileKeyStore.open(path, Passphrase(b"p" * 12, QUICK))
    path.write_bytes(raw)
    FileKeyStore.open(path, Passphrase(b"p" * 12, QUICK)).close()


def test_every_changed_byte_of_a_slot_is_noticed(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    store.ensure("kek", KeyKind.WRAP, WRAP, b"")
    store.close()
    path = tmp_path / "keys"
    raw = path.read_bytes()
    length = int.from_bytes(raw[4097:4099], "big")
    for at in range(4097, 4099 + length):
        path.write_bytes(raw[:at] + bytes((raw[at] ^ 0x01,)) + raw[at + 1 :])
        with pytest.raises((KeyStoreError, SlotFileError)):
            reopened(tmp_path)
    path.write_bytes(raw)
    reopened(tmp_path).close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    program = (
        "import sys; from pathlib import Path\n"
        "from letterlock.custody.slots import SlotFile, SlotFileError\n"
        "try: SlotFile.open(Path(sys.argv[1]))\n"
        "except SlotFileError as error: print(error.reason.value)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "keys")], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "in_use_by_another_process"
    store.close()


def test_every_call_is_told_before_it_happens_and_can_be_stopped(tmp_path: Path) -> None:
    calls: list[KeyStoreCall] = []

    def audit(call: KeyStoreCall) -> None:
        if call.operation is KeyOperation.DESTROY:
            raise PermissionError
        calls.append(call)

    store = FileKeyStore.create(tmp_path / "keys", RootKeyFile.create(tmp_path / "root"), audit)
    wrap = store.ensure("w", KeyKind.WRAP, WRAP, b"")
    store.unwrap(wrap, WRAP, b"", store.wrap(wrap, WRAP, b"", b"key"))
    with pytest.raises(PermissionError):
        store.destroy(wrap, WRAP, b"")
    assert store.unwrap(wrap, WRAP, b"", store.wrap(wrap, WRAP, b"", b"key")) == b"key"
    assert [call.operation for call in calls[:3]] == [KeyOperation.CREATE, KeyOperation.WRAP, KeyOperation.UNWRAP]
    store.close()
    with refused(KeyStoreReason.CLOSED):
        store.wrap(wrap, WRAP, b"", b"key")


@pytest.mark.parametrize("text", ["a@1", "storage/generations@4294967295"])
def test_handles_have_one_spelling(text: str) -> None:
    assert str(KeyHandle.parse(text)) == text


@pytest.mark.parametrize("text", ["", "a", "@1", "a@", "a@0", "a@01", "a@-1", "a@4294967296", "A@1", "a b@1", "a@१"])
def test_other_spellings_are_refused(text: str) -> None:
    with refused(KeyStoreReason.BAD_NAME):
        KeyHandle.parse(text)


def test_no_public_method_returns_what_the_store_holds(tmp_path: Path) -> None:
    store = keystore(tmp_path)
    handles = [store.ensure(kind.value, kind, purpose, b"") for kind, purpose in zip(KeyKind, KeyPurpose, strict=False)]
    secrets = [key.secret for key in store._keys.values()]
    assert len(secrets) == len(handles) == 3
    shown = repr(store) + repr(store._keys) + repr(handles) + repr(store.capabilities())
    assert not any(secret.hex() in shown or repr(secret)[2:-1] in shown for secret in secrets)
