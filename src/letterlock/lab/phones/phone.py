"""A phone: a device of an account of its own, and what its screen shows."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx

from letterlock.assurance.device_list import first, sign_list
from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.relay import ListAnswer, RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.client.transport import DeviceStream, Sending
from letterlock.lab.phones import commands as c
from letterlock.lab.phones.profile import Profile
from letterlock.lab.phones.submit import submit_raw
from letterlock.lab.smsc.clock import SteadyClock
from letterlock.model.ids import AccountId, GroupRef, MessageId
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire import stream
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

PACKAGES: Final = 10
STOP_S: Final = 10
_PROTECTIONS: Final = tuple(Protection)
_GRADES: Final = tuple(EvidenceGrade)
_VERIFIERS: Final = tuple(Verifier)
Shown = dict[str, Any]


class Phone:
    """One phone in an event loop.

    Args:
        folder: of its store; the store's key is made with it and kept in memory only.
        profile: what it says of itself.
    """

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.profile = profile
        self._clock = SteadyClock()
        self._store = DeviceStore(folder / "device.db", ClientKey(os.urandom(32)))
        self._http = httpx.AsyncClient(timeout=20)
        self._device: Device | None = None
        self._stream: DeviceStream | None = None
        self._task: asyncio.Task[object] | None = None
        self._screen: list[Shown] = []
        self._received: dict[str, events.Received] = {}

    @property
    def device(self) -> Device:
        """The device; enrolled first."""
        if self._device is None:
            raise LookupError("enrol this phone first")
        return self._device

    async def do(self, command: c.Command) -> Shown:
        """Carries out one command and gives its answer."""
        match command:
            case c.Enrol():
                return await self._enrol(command)
            case c.Moved(url=url):
                await self._disconnect()
                self._http.base_url = httpx.URL(url)
            case c.Connect():
                self._connect()
            case c.Disconnect():
                await self._disconnect()
            case c.CreateGroup():
                ref = await self.device.create_group()
                record = self.device.group(ref)
                epoch = self.device.engine.epoch(record.group_id)
                return {"group": str(ref), "group_id": record.group_id.hex(), "epoch": epoch}
            case c.Add(group=group, account=account):
                return {"epoch": await self.device.add_account(GroupRef.parse(group), AccountId.parse(account))}
            case c.Say(group=group, text=text):
                return {"message": str(await self.device.send(GroupRef.parse(group), text.encode()))}
            case c.Read(message=message):
                await self.device.mark_read(self._received[message])
            case c.Screen():
                shown, self._screen = self._screen, []
                return {"shown": shown}
            case c.Status():
                return self._status()
            case c.Raw():
                return await self._raw(command)
            case c.Stop():
                await self.close()
        return {}

    async def close(self) -> None:
        """Ends the phone."""
        await self._disconnect()
        if self._device is not None:
            self._device.close()
            self._device = None
        else:
            self._store.close()
        await self._http.aclose()

    async def _enrol(self, command: c.Enrol) -> Shown:
        self._http.base_url = httpx.URL(command.url)
        seed, public = new_identity()
        calls = RelayCalls(self._http, command.tenant_key)
        enrolment = await register_account(calls, public)
        prepare(self._store, enrolment, identity=seed)
        device = Device(self._store, self._http, self._clock)
        # Signed here and not by the device, because its own line names no profile.
        entry = replace(device.entry, capabilities=self.profile.tags)
        shown = first(enrolment.account, self._clock.now_ms(), public, [entry])
        identity = SoftwareKey(KeyFamily.IDENTITY, Suite.ED25519, seed)
        signed = sign_list(shown, enrolment.tenant, enrolment.environment, identity).encode()
        path = f"/v1/accounts/{enrolment.account}/devices"
        await calls.call("POST", path, ListAnswer, {"device_list": signed})
        device.directory.learn(enrolment.account, [signed], public)
        self._device = device
        await device.login()
        await device.publish_key_packages(PACKAGES)
        return {"account": str(device.account), "device": str(device.device)}

    def _connect(self) -> None:
        if self._task is not None:
            return
        url = str(self._http.base_url).replace("http", "ws", 1)
        self._stream = DeviceStream(url, self)
        self.device.attach(self._stream.wake)
        self._task = asyncio.create_task(self._stream.run())

    async def _disconnect(self) -> None:
        if self._stream is None or self._task is None:
            return
        self._stream.stop()
        await asyncio.wait([self._task], timeout=STOP_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._stream = self._task = None

    def _status(self) -> Shown:
        device = self.device
        connected = self._stream is not None and self._stream.connected.is_set()
        return {
            "cursor": device.cursor(),
            "waiting": len(device.waiting(0, stream.MAX_ITEMS)),
            "groups": [str(ref) for ref in device.groups()],
            "connected": connected,
        }

    async def _raw(self, command: c.Raw) -> Shown:
        message = (command.reference or os.urandom(16), command.body)
        (result,) = await submit_raw(self._http, self.device, command.group, [message])
        return result

    # -- as the stream sees it --------------------------------------------------------------------------------------

    async def token(self, renew: bool) -> str:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return await self.device.token(renew)

    def cursor(self) -> int:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self.device.cursor()

    def state_counter(self) -> int:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self.device.state_counter()

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """Hands items on one by one, and shows what came of each beside what the gateway says of it."""
        for offset, item in enumerate(items):
            await self.device.delivered(first_seq + offset, [item])
            for position, event in self.device.inbox():
                self._show(event, item)
                if isinstance(event, events.Received) and self.profile.read_receipts:
                    await self.device.mark_read(event)
                await self.device.take([position])
        return self.device.cursor()

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        return self.device.waiting(after, limit)

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """See :class:`letterlock.client.transport.StreamHandler`."""
        await self.device.answered(results)

    def _show(self, event: events.DeviceEvent, item: stream.Delivery) -> None:
        shown: Shown = {
            "id": f"msg_{item.message_id.hex()}",
            "server_says": {
                "protection": _PROTECTIONS[item.protection].value,
                "grade": _GRADES[item.grade].value,
                "verifier": _VERIFIERS[item.verifier].value,
            },
        }
        match event:
            case events.Received():
                message = str(MessageId(event.message))
                self._received[message] = event
                shown |= {"what": "message", "message": message, "text": event.content.decode("utf-8", "replace")}
                shown |= {"protection": Protection.E2EE.value, "grade": EvidenceGrade.ATTESTED.value}
                shown |= {"verifier": Verifier.DEVICE.value}
            case events.PayloadReceived():
                shown |= {"what": "message", "message": str(MessageId(event.message)), "payload": _tag(event)}
                shown |= {"protection": Protection.E2EE.value, "grade": EvidenceGrade.ATTESTED.value}
                shown |= {"verifier": Verifier.DEVICE.value}
            case events.ReceiptSeen():
                shown |= {"what": event.kind, "message": str(MessageId(event.message))}
                shown |= {"protection": Protection.E2EE.value, "grade": EvidenceGrade.ATTESTED.value}
                shown |= {"verifier": Verifier.DEVICE.value, "attested": f"{event.attested} of {event.recipients}"}
            case events.DeliveryFailed():
                shown |= {"what": "failed", "message": str(MessageId(event.message)), "remedy": event.remedy}
            case events.GroupJoined():
                shown |= {"what": "joined", "group": str(GroupRef(event.group)), "epoch": event.epoch}
            case events.GroupChanged():
                shown |= {"what": "changed", "group": str(GroupRef(event.group)), "epoch": event.epoch}
            case events.Finding():
                shown |= {"what": "not shown", "reason": event.reason}
        self._screen.append(shown)


def _tag(event: events.PayloadReceived) -> str:
    return str(type(event.payload).__struct_config__.tag)
