"""What the gateway counted: its metrics, and the entries of its exported ledger."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx

from letterlock.lab.demo.world import GatewayProcess
from letterlock.wire.tlog.entries import Batch, Finding, decode_entry
from letterlock.wire.tlog.tiles import bundles_at, split_bundle
from letterlock.wire.tlog.words import FindingCode


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals since the gateway's store was made (ledger) and since its process started (metrics).

    Attributes:
        accepted: of all batch entries together.
        entries: of each other type, by its name.
        inbound: messages from outside that were dropped, of the findings that say so.
        submissions: of the metric, by outcome.
        downgrades: of the metric, by outcome.
    """

    accepted: int
    entries: Counter[str]
    inbound: int
    submissions: Counter[str]
    downgrades: Counter[str]


def _cli(*arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "letterlock.app.cli", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - our own module


async def counted(gateway: GatewayProcess, export: Path) -> Counted:
    """Reads both; the ledger up to its last signed head.

    Args:
        gateway: serving.
        export: a folder that does not exist, for the exported log.

    Raises:
        subprocess.CalledProcessError: the log cannot be exported or does not verify.
    """
    _cli("ledger", "verify", "--data", str(gateway.folder))
    _cli("ledger", "export", str(export), "--data", str(gateway.folder))
    size = int((export / "checkpoint").read_text().splitlines()[1])
    accepted = inbound = 0
    entries: Counter[str] = Counter()
    for address in bundles_at(size):
        for raw in split_bundle((export / address.path).read_bytes(), address.width):
            entry = decode_entry(raw)
            if isinstance(entry, Batch):
                accepted += entry.accepted
                continue
            entries[entry.t] += 1
            if isinstance(entry, Finding) and entry.code is FindingCode.INBOUND_DROPPED:
                inbound += entry.count
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        page = await http.get("/metrics", headers={"Authorization": f"Bearer {gateway.api_key}"})
    page.raise_for_status()
    submissions: Counter[str] = Counter()
    for word, value in re.findall(r'^letterlock_submissions_total\{outcome="(\w+)"\} (\S+)$', page.text, re.MULTILINE):
        submissions[word] += int(float(value))
    downgrades: Counter[str] = Counter()
    pattern = r'^letterlock_downgrades_total\{cause="\w+",outcome="(\w+)"\} (\S+)$'
    for word, value in re.findall(pattern, page.text, re.MULTILINE):
        downgrades[word] += int(float(value))
    return Counted(accepted, entries, inbound, submissions, downgrades)
