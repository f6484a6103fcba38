"""A store with devices, groups and sessions, written as rows: enrolment is not what is measured."""

import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from letterlock.storage.sqlite.connection import open_writer
from letterlock.wire.mls.codec import length_header

SENDERS = 64
RECIPIENTS = 20
BODY = 1_024
"""Bytes of ciphertext inside the PrivateMessage."""


@dataclass(frozen=True)
class Party:
    mailbox: int
    token: str


@dataclass(frozen=True)
class Pair:
    """A group of one sender and one recipient."""

    number: int
    ref: bytes
    group_id: bytes
    sender: Party
    recipient: Party


@dataclass(frozen=True)
class World:
    senders: list[Party]
    recipients: list[Party]
    pairs: list[Pair]


def private_message(group_id: bytes, epoch: int = 1, size: int = BODY) -> bytes:
    """A PrivateMessage (RFC 9420, section 6.3) with random content: what a relay without keys sees."""

    def vector(data: bytes) -> bytes:
        return length_header(len(data)) + data

    return (
        b"\x00\x01\x00\x02"
        + vector(group_id)
        + epoch.to_bytes(8, "big")
        + b"\x01"
        + vector(b"")
        + vector(os.urandom(28))
        + vector(os.urandom(size))
    )


def provision(folder: Path, *, senders: int = SENDERS, recipients: int = RECIPIENTS, pairs: int = SENDERS) -> World:
    """Fills an empty store: groups of one sender and one recipient, who take turns."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = open_writer(folder)
    now = time.time_ns() // 1_000_000
    year = now + 365 * 86_400_000
    parties: list[Party] = []
    with db:
        db.execute(
            "INSERT INTO tenant (no, id, name, profile, created_ms) VALUES (1,?,?,?,?)",
            (os.urandom(16), "bench", "standard", now),
        )
        for mailbox in range(1, senders + recipients + 1):
            token = os.urandom(32).hex()
            db.execute(
                "INSERT INTO device (mailbox, tenant, id, account, session_key, leaf_key, kind, created_ms)"
                " VALUES (?,1,?,?,?,?,'native',?)",
                (mailbox, os.urandom(16), os.urandom(16), b"", b"", now),
            )
            db.execute(
                "INSERT INTO device_session (tenant, token_hash, mailbox, expires_ms) VALUES (1,?,?,?)",
                (sha256(token.encode()).digest(), mailbox, year),
            )
            parties.append(Party(mailbox, token))
        writing, reading = parties[:senders], parties[senders:]
        made = []
        for at in range(pairs):
            sender = writing[at % senders]
            pair = Pair(at + 1, os.urandom(16), os.urandom(16), sender, reading[at % recipients])
            db.execute(
                "INSERT INTO mls_group (no, tenant, ref, group_id, epoch, first_epoch, creator, log_seq, log_head,"
                " created_ms) VALUES (?,1,?,?,1,1,?,0,?,?)",
                (pair.number, pair.ref, pair.group_id, sender.mailbox, b"", now),
            )
            db.execute("INSERT INTO group_member VALUES (?,?)", (pair.number, sender.mailbox))
            db.execute("INSERT INTO group_member VALUES (?,?)", (pair.number, pair.recipient.mailbox))
            made.append(pair)
    db.close()
    return World(writing, reading, made)
