"""Where a person's device lives on disk, and how it comes to be: folder, key file, sealed store, enrolment.

Each step of an enrolment is durable before the next; a start after a crash goes on where it was.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import httpx
import msgspec

from letterlock.client import keys
from letterlock.client.chat.contact import Contact
from letterlock.client.device import Device
from letterlock.client.engine import EngineFactory
from letterlock.client.engines import DEFAULT, choose
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.errors import ChatError, ChatReason, RelayError, RelayReason
from letterlock.client.relay import ListsAnswer, RelayCalls
from letterlock.client.sealing import KEY_BYTES, ClientKey
from letterlock.client.store import DeviceStore
from letterlock.model.clock import Clock
from letterlock.wire.preimage import PublicKey

STORE: Final = "device.db"
KEY_FILE: Final = "device.key"
CONTACT_FILE: Final = "contact"
_OTHERS: Final = 0o077


@final
class Home:
    """The folder of one person, made with mode 0700. One process at a time.

    The store is sealed under 32 random bytes in a file of mode 0600 beside it. Whoever has both reads everything.

    Args:
        folder: see above.

    Raises:
        ChatError: KEY_FILE_MISSING, KEY_FILE_OPEN, KEY_FILE_UNUSABLE.
        StoreError: IN_USE and the others of :class:`DeviceStore`.
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder: Final = folder
        self.store_file: Final = folder / STORE
        self.key_file: Final = folder / KEY_FILE
        if not self.key_file.exists():
            if self.store_file.exists():
                raise ChatError(ChatReason.KEY_FILE_MISSING)
            _new_key(self.key_file)
        self.store: Final = DeviceStore(self.store_file, ClientKey(_read_key(self.key_file)))
        self.store_file.chmod(0o600)

    def leave_contact(self, contact: Contact) -> None:
        """Writes the contact line to a file beside the store; it is no secret."""
        (self.folder / CONTACT_FILE).write_text(f"{contact}\n")

    def identity_key(self) -> PublicKey:
        """The public identity key of the account.

        Raises:
            LookupError: not enrolled, or a device without it.
        """
        held = self.store.get(keys.PLACE, keys.NAME)
        identity = None if held is None else msgspec.msgpack.decode(held, type=keys.DeviceKeys).identity_key()
        if identity is None:
            raise LookupError("this device holds no identity key")
        return identity.public


async def device_of(
    home: Home, http: httpx.AsyncClient, clock: Clock, api_key: Callable[[], str], engine: str = DEFAULT
) -> tuple[Device, str]:
    """The device in this home; enrolled first where it is not yet.

    Args:
        home: where it lives.
        http: an ``httpx.AsyncClient`` with the gateway's base URL.
        clock: wall time.
        api_key: gives a tenant key with the scope ``devices``; asked only when something is left to enrol.
        engine: the name of the MLS engine.

    Returns:
        the device, and ``enrolled`` or ``resumed``.

    Raises:
        EngineError: NOT_INSTALLED, before anything was registered.
        RelayError: refused or unreachable; the next start goes on from here.
    """
    make = choose(engine)
    if home.store.get(keys.PLACE, keys.NAME) is None:
        _try_engine(make)
        seed, public = new_identity()
        enrolment = await register_account(RelayCalls(http, api_key()), public)
        prepare(home.store, enrolment, identity=seed)
    device = Device(home.store, http, clock, make)
    try:
        if device.directory.head(device.account) is not None:
            return device, "resumed"
        await _publish(device, home.identity_key(), http, api_key())
    except BaseException:
        device.close()
        raise
    return device, "enrolled"


async def _publish(device: Device, identity_key: PublicKey, http: httpx.AsyncClient, api_key: str) -> None:
    try:
        await device.publish_list(tenant_key=api_key)
    except RelayError as error:
        if error.reason not in {RelayReason.CONFLICT, RelayReason.DEVICE_LIST_VERSION}:
            raise
        # A crash came between the relay's answer and our own note of it: the list that is there is ours, or refused.
        path = f"/v1/accounts/{device.account}/device-list?since=0"
        answer = await RelayCalls(http, api_key).call("GET", path, ListsAnswer)
        versions = [entry.device_list for entry in answer.versions]
        head = device.directory.learn(device.account, versions, identity_key)
        if head is None or head.find(device.device) is None:
            raise


def _try_engine(make: EngineFactory) -> None:
    make(os.urandom(keys.SEED), {}).close()


def _new_key(file: Path) -> None:
    """Written whole or not at all."""
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(os.urandom(KEY_BYTES))
        out.flush()
        os.fsync(out.fileno())
    part.rename(file)


def _read_key(file: Path) -> bytes:
    if file.stat().st_mode & _OTHERS:
        raise ChatError(ChatReason.KEY_FILE_OPEN)
    secret = file.read_bytes()
    if len(secret) != KEY_BYTES:
        raise ChatError(ChatReason.KEY_FILE_UNUSABLE)
    return secret
