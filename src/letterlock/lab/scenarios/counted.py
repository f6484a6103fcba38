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
from letterlock.wire.tlog.entries import Batch, Quarantine, decode_entry
from letterlock.wire.tlog.tiles import bundles_at, split_bundle


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals since the gateway's store was made (ledger) and since its process started (metrics).

    Attributes:
        accepted: of all batch entries together.
        quarantined: entries of that kind.
        submissions: of the metric, by outcome.
    """

    accepted: int
    quarantined: int
    submissions: Counter[str]


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
    accepted = quarantined = 0
    for address in bundles_at(size):
        for raw in split_bundle((export / address.path).read_bytes(), address.width):
            entry = decode_entry(raw)
            accepted += entry.accepted if isinstance(entry, Batch) else 0
            quarantined += isinstance(entry, Quarantine)
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        page = await http.get("/metrics", headers={"Authorization": f"Bearer {gateway.api_key}"})
    page.raise_for_status()
    found = re.findall(r'^letterlock_submissions_total\{outcome="(\w+)"\} (\S+)$', page.text, re.MULTILINE)
    return Counted(accepted, quarantined, Counter({word: int(float(value)) for word, value in found}))
