"""What MLS costs beside the relay: following a group's public state, and a device's own encryption. In one process.

Groups are real ones, made by the engine that the SDK ships with; nothing here talks to a server.
"""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from letterlock.client.engine import CommitBundle
from letterlock.client.rine import RineEngine
from letterlock.relay.directory import GroupHead
from letterlock.relay.tracking import Seen, follow
from letterlock.storage.relay_commands import GroupStanding, PublicState
from letterlock.wire.mls import parse

GROUP = b"bench group"
CONTENT = 512
"""Bytes of an envelope that a short text becomes, padding included."""
LOOKS = 200_000
"""Looks at the grade in one timing: one look is under a microsecond."""
Row = dict[str, Any]


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {f"p{share}": ordered[min(last, len(ordered) * share // 100)] for share in (50, 95, 99)}


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1e3)
    return found


class Members:
    """A group of ``size`` devices: two that do something, and the key packages of the others."""

    def __init__(self, size: int, stack: ExitStack) -> None:
        self.ann = RineEngine(os.urandom(32))
        self.bob = RineEngine(os.urandom(32))
        stack.callback(self.ann.close)
        stack.callback(self.bob.close)
        self.keys = {1: self.ann.leaf_key, 2: self.bob.leaf_key}
        packages = self.bob.key_packages(1) + others(size - 2, self.keys)
        self.ann.create(GROUP)
        bundle = self.ann.add(GROUP, packages)
        self.ann.confirm(GROUP)
        self.bob.join(bundle.welcomes[0])
        self.bob.confirm(GROUP)
        self.public = self._anchored(bundle)

    def _anchored(self, bundle: CommitBundle) -> PublicState:
        seen = Seen(1, bundle.commit, False, bundle.group_info, self.keys, 1)
        followed = follow(None, seen, int(time.time()))
        if followed.public is None or followed.public.standing is not GroupStanding.FOLLOWED:
            raise RuntimeError("a group that should be followed is not")
        return followed.public


def others(count: int, keys: dict[int, bytes]) -> list[bytes]:
    """Key packages of so many further devices, whose leaf keys are added to ``keys``."""
    found = []
    for number in range(count):
        engine = RineEngine(os.urandom(32))
        keys[number + 3] = engine.leaf_key
        found += engine.key_packages(1)
        engine.close()
    return found


def following(members: Members, commits: int) -> Row:
    """Commits of one member, each followed as the relay does it: state read, commit checked, state packed."""
    spent: list[float] = []
    held = members.public
    for _ in range(commits):
        bundle = members.ann.update(GROUP)
        members.ann.confirm(GROUP)
        seen = Seen(held.epoch, bundle.commit, False, bundle.group_info, members.keys, 1)
        began = time.perf_counter()
        followed = follow(held, seen, int(time.time()))
        spent.append((time.perf_counter() - began) * 1e3)
        if followed.public is None or followed.public.standing is not GroupStanding.FOLLOWED:
            raise RuntimeError(f"a commit was not followed: {followed.finding}")
        held = followed.public
        members.bob.process(bundle.commit)
    return {"commit_ms": percentiles(spent), "state_bytes": len(held.state), "commits": commits}


def grading(members: Members) -> Row:
    """What the grade of one application message costs the relay: the look at the group, beside the parser it needs."""
    mailboxes = {members.public.epoch: frozenset(members.keys)}
    head = GroupHead(1, b"r" * 16, GROUP, 1, members.public.epoch, mailboxes, 2**62)
    epoch, now = members.public.epoch, time.time_ns() // 1_000_000
    if not head.tracks(epoch, 2, now):
        raise RuntimeError("the grade is not TRACKED")
    began = time.perf_counter()
    for _ in range(LOOKS):
        head.tracks(epoch, 2, now)
    looked = time.perf_counter() - began
    message = members.ann.encrypt(GROUP, os.urandom(CONTENT))
    parsed = statistics.median(timed(lambda: parse(message), 2_000)) * 1e3
    return {"grade_us": looked / LOOKS * 1e6, "parser_us": parsed}


def encrypting(members: Members, messages: int) -> Row:
    """A device's encryption and another's decryption, state saved each time, as the SDK does both."""
    content = os.urandom(CONTENT)
    sealing: list[float] = []
    opening: list[float] = []
    for _ in range(messages):
        began = time.perf_counter()
        message = members.ann.encrypt(GROUP, content)
        members.ann.take_changes()
        between = time.perf_counter()
        members.bob.process(message)
        members.bob.take_changes()
        opening.append((time.perf_counter() - between) * 1e3)
        sealing.append((between - began) * 1e3)
    return {"encrypt_ms": percentiles(sealing), "decrypt_ms": percentiles(opening)}


def measure(sizes: tuple[int, ...], commits: int, messages: int) -> list[Row]:
    """One row a group size."""
    found = []
    for size in sizes:
        with ExitStack() as stack:
            members = Members(size, stack)
            row: Row = {"members": size, **grading(members), **encrypting(members, messages)}
            found.append(row | following(members, commits))
    return found
