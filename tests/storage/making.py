"""A store with devices and a group, and commands for it."""

import os
from pathlib import Path

from letterlock.model.capability import Channel
from letterlock.model.clock import ManualClock
from letterlock.model.message import MessageState
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.storage.commands import AcceptSealed, Relied, Shown
from letterlock.storage.sqlite.connection import open_writer
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.records import accepted_shape

SHOWN = Shown(
    5, 2, 2, 1, 0, "sealed", 0,
    accepted_shape(Channel.RELAY, Protection.E2EE, EvidenceGrade.FRAMED, Verifier.GATEWAY, rule_tag("sealed")),
)  # fmt: skip
CLOCK = ManualClock()
GROUP_ROW = (
    "INSERT INTO mls_group (no, tenant, ref, group_id, epoch, first_epoch, creator, log_seq, log_head, created_ms)"
    " VALUES ({},1,{},{},7,1,1,0,x'',0)"
)
"""A group at epoch 7: its number, its name and its MLS id."""


def make(folder: Path) -> StoreCore:
    """A store with devices 1 to 4 of tenant 1, device 5 of tenant 2, and a group of 1, 2 and 3 at epoch 7."""
    db = open_writer(folder)
    with db:
        for tenant in (1, 2):
            db.execute(
                "INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (?,?,?,'standard',0)",
                (tenant, os.urandom(16), f"t{tenant}"),
            )
        for mailbox in range(1, 6):
            db.execute(
                "INSERT INTO device (mailbox, tenant, id, account, session_key, leaf_key, kind, created_ms)"
                " VALUES (?,?,?,?,x'',x'','native',0)",
                (mailbox, 2 if mailbox == 5 else 1, os.urandom(16), os.urandom(16)),
            )
        db.execute(GROUP_ROW.format(1, "?", "x'aa'"), (os.urandom(16),))
        for mailbox in (1, 2, 3):
            db.execute("INSERT INTO group_member VALUES (1,?)", (mailbox,))
    db.close()
    return StoreCore(folder, handlers(), CLOCK)


def message(
    message_id: bytes | None = None, *, tenant: int = 1, mac: bytes = b"m" * 16, sender: int = 1, epoch: int = 7,
    policy: int = 0, session: int = -1, sealed: bytes = b"ciphertext",
) -> AcceptSealed:  # fmt: skip
    now = CLOCK.now_ms()
    return AcceptSealed(
        tenant, message_id or os.urandom(16), mac, sender, 1, 0, 1, epoch, sealed, 3, 2, SHOWN,
        int(MessageState.ACCEPTED), Relied(policy, session), now, now + 1000,
    )  # fmt: skip


def rows(core: StoreCore, sql: str) -> list[tuple[object, ...]]:
    return core.read_back(sql)
