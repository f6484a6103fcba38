"""What the demonstration is made of: a gateway process and enrolled phones."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from letterlock.client import events
from letterlock.client.device import Device
from letterlock.client.engine import EngineFactory
from letterlock.client.engines import DEFAULT, ENGINES
from letterlock.client.enrolment import new_identity, prepare, register_account
from letterlock.client.relay import RelayCalls
from letterlock.client.sealing import ClientKey
from letterlock.client.store import DeviceStore
from letterlock.client.transport import DeviceStream, Sending
from letterlock.lab.demo.centre import PASSWORD, SYSTEM_ID
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire import stream

START_S: Final = 30
STOP_S: Final = 15
_PASSWORD: Final = "LETTERLOCK_LAB_SMSC_PASSWORD"  # noqa: S105 - the name of a variable, not a password
WAIT_S: Final = 20
POLL_S: Final = 0.02


class PhoneClock:
    """The clock of a simulated phone."""

    def now_ms(self) -> int:
        """Wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Steady time in milliseconds."""
        return time.monotonic_ns() // 1_000_000


@dataclass
class GatewayProcess:
    """A gateway that was started for this run."""

    process: asyncio.subprocess.Process
    url: str
    folder: Path
    log: Path
    secrets: Path
    """The folder of the root key and of the first tenant's API key: the store's, unless another was wished for."""

    @property
    def api_key(self) -> str:
        """The API key of the first tenant."""
        return (self.secrets / "api-key").read_text().strip()

    async def stop(self) -> None:
        """Ends it in order."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.process.wait(), STOP_S)

    async def kill(self) -> None:
        """Ends it as a power cut of the process would."""
        self.process.kill()
        await self.process.wait()


async def start_gateway(
    work: Path,
    smpp_port: int = 0,
    push_host: str = "",
    secrets: Path | None = None,
    profile: str = "standard",
    further: str = "",
) -> GatewayProcess:
    """Starts a gateway on a free loopback port, with its store below ``work``; again on the same store after an end.

    Args:
        work: for its settings, store and log.
        smpp_port: of a laboratory's message centre on loopback; 0: no way over SMS.
        push_host: of a laboratory's push service on loopback; empty: nobody is woken by Web Push.
        secrets: a folder for the root key, apart from the store; None: beside it.
        profile: the policy.
        further: more settings, in TOML.
    """
    folder, log = work / "store", work / "gateway.log"
    settings = work / "letterlock.toml"
    settings.write_text(
        f"[server]\nport = 0\n[store]\nfolder = {json.dumps(str(folder))}\npurge_every_s = 1\n"
        f'[policy]\nprofile = "{profile}"\n'
    )
    if secrets is not None:
        with settings.open("a") as more:
            more.write(f"[keystore]\nroot_file = {json.dumps(str(secrets / 'root.key'))}\n")
    if smpp_port:
        with settings.open("a") as file:
            file.write(
                f'[sms]\nhosts = ["127.0.0.1:{smpp_port}"]\nsystem_id = "{SYSTEM_ID}"\npassword = "env:{_PASSWORD}"\n'
                'sender = "Letterlock"\ntls = false\n'
            )
    if push_host:
        with settings.open("a") as file:
            file.write(f'[push]\nhosts = ["{push_host}"]\nsubject = "mailto:lab@example.net"\n')
    with settings.open("a") as file:
        file.write(further)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "letterlock.app.cli", "serve", "--config", str(settings), "--announce",
            stdout=asyncio.subprocess.PIPE, stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), _PASSWORD: PASSWORD},
        )  # fmt: skip
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_S)
    return GatewayProcess(process, json.loads(line)["url"], folder, log, secrets or folder)


class Watched:
    """A device as its stream sees it; notes what the gateway says of each item that it delivers."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.said: list[dict[str, str]] = []
        """Protection, grade and verifier of the application messages, as they came."""

    async def token(self, renew: bool) -> str:
        """See the device."""
        return await self._device.token(renew)

    def cursor(self) -> int:
        """See the device."""
        return self._device.cursor()

    def state_counter(self) -> int:
        """See the device."""
        return self._device.state_counter()

    async def delivered(self, first_seq: int, items: Sequence[stream.Delivery]) -> int:
        """Notes, then hands on."""
        for item in items:
            if item.kind is stream.ItemKind.APPLICATION:
                words = (_PROTECTIONS[item.protection], _GRADES[item.grade], _VERIFIERS[item.verifier])
                self.said.append(dict(zip(("protection", "grade", "verifier"), words, strict=True)))
        return await self._device.delivered(first_seq, items)

    def waiting(self, after: int, limit: int) -> list[Sending]:
        """See the device."""
        return self._device.waiting(after, limit)

    async def answered(self, results: Sequence[tuple[Sending, stream.Result]]) -> None:
        """See the device."""
        await self._device.answered(results)


_PROTECTIONS: Final = [word.value for word in Protection]
_GRADES: Final = [word.value for word in EvidenceGrade]
_VERIFIERS: Final = [word.value for word in Verifier]


class Phone:
    """A simulated phone: a device of an account of its own, connected over its stream."""

    def __init__(self, name: str, profile: str, device: Device, http: httpx.AsyncClient, url: str) -> None:
        self.name = name
        self.profile = profile
        self.device = device
        self.http = http
        self.watched = Watched(device)
        self._stream = DeviceStream(url.replace("http", "ws", 1), self.watched)
        device.attach(self._stream.wake)
        self._task: asyncio.Task[object] | None = None

    def moved(self, gateway: GatewayProcess) -> None:
        """The gateway was started again and has another address; not while connected."""
        self.http.base_url = gateway.url
        self._stream = DeviceStream(gateway.url.replace("http", "ws", 1), self.watched)
        self.device.attach(self._stream.wake)

    def connect(self) -> None:
        """Opens the stream and keeps it open."""
        self._task = asyncio.create_task(self._stream.run())

    async def close(self) -> None:
        """Ends the phone."""
        if self._task is not None:
            self._stream.stop()
            await asyncio.wait([self._task], timeout=STOP_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.device.close()
        await self.http.aclose()


async def enrol(
    work: Path, gateway: GatewayProcess, name: str, profile: str, engine: EngineFactory = ENGINES[DEFAULT]
) -> Phone:
    """Registers an account, its signed device list and key packages, over the API as an adopter would."""
    http = httpx.AsyncClient(base_url=gateway.url, timeout=20)
    seed, public = new_identity()
    enrolment = await register_account(RelayCalls(http, gateway.api_key), public)
    store = DeviceStore(work / f"{name}.db", ClientKey(os.urandom(32)))
    prepare(store, enrolment, identity=seed)
    device = Device(store, http, PhoneClock(), engine)
    await device.publish_list(tenant_key=gateway.api_key)
    await device.login()
    await device.publish_key_packages(5)
    return Phone(name, profile, device, http, gateway.url)


async def until(done: Callable[[], bool]) -> bool:
    """Waits, within bounds, until something has come."""
    end = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_S)
    return True


def received(phone: Phone) -> list[events.Received]:
    """The messages that this phone has opened and verified."""
    return [event for _, event in phone.device.inbox() if isinstance(event, events.Received)]
