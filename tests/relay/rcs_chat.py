"""An RCS group on a real relay: two devices whose leaves have certificates, and commits made by hand."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.relay import mls
from tests.relay.world import Person, Phone, World, opened
from tests.wire_mls.certificate_maker import LEAF, ROOT, Wish, certified, rcs_group
from tests.wire_mls.group_maker import ANYBODY, GROUP, NOW_S, add, by_value, key_package, new_extensions

from letterlock.model.clock import ManualClock
from letterlock.model.ids import GroupRef
from letterlock.relay.bundle import Bundle, Welcome
from letterlock.storage.relay_commands import EraAdvanced, GroupCommitted
from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.group import Root, anchor
from letterlock.wire.mls.structures import Extension, read_key_package
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

ROOTS = (Root.of(ROOT.make(), NOW_S),)


class RcsChat:
    """Ann makes a group and adds Bob; everything else is the test's."""

    def __init__(self, world: World, extensions: tuple[Extension, ...], wish: Wish, own: Wish = LEAF) -> None:
        self.world = world
        self.extensions = extensions
        self.made, self.first_info = rcs_group("a", *extensions, a=own)
        self.bob = self.made.signer("b")
        self.wish, self.own = wish, own
        self.phones = [Phone("ann"), Phone("bob")]
        self.ref = GroupRef(bytes(16))

    async def start(self) -> None:
        for name, phone, signer in zip("ab", self.phones, (self.made.members[0], self.bob), strict=True):
            phone.entry = replace(phone.entry, leaf_key=signer.public)
            await Person(name).enrol(self.world, phone)
        self.ref, _, _ = await self.world.groups.create(self.phones[0].caller, GROUP, 0)

    def again(self, *extensions: Extension, wish: Wish | None = None) -> "RcsChat":
        """The same people, who make their group once more: what a new era begins with."""
        made = RcsChat(self.world, extensions, wish or self.wish, self.own)
        made.phones, made.ref = self.phones, self.ref
        return made

    async def advance(self, bundle: Bundle, by: int = 0) -> EraAdvanced:
        """Puts a new era in the place of the group ``ref``."""
        return await self.world.groups.advance_era(self.phones[by].caller, self.ref, bundle)

    def adding(self, **changed: object) -> Bundle:
        """The commit that adds Bob, with the GroupInfo of the epoch after it."""
        made = self.made
        package = key_package(certified(self.bob, self.wish))
        made.state = anchor(self.first_info, ANYBODY, NOW_S)
        editor = made.state.tree.edit()
        editor.add(read_key_package(Reader(package)).leaf)
        after = editor.done()
        path = made.path(0, after=after, added=frozenset({1}), leaf=certified(made.members[0], self.own))
        commit = made.commit(0, [by_value(add(package))], path)
        made.members[1] = self.bob
        made.follow(commit)
        bundle = Bundle(
            GROUP, 0, commit, [Welcome([self.phones[1].id], mls.welcome(suite=2))], self.info(), [self.phones[1].id],
            [], os.urandom(16), 1,
        )  # fmt: skip
        return replace(bundle, **changed)  # type: ignore[arg-type]

    def renewing(self, by: int = 0, extensions: tuple[Extension, ...] | None = None, **changed: object) -> Bundle:
        """A commit that renews a member's leaf, and may change the group's extensions."""
        proposals = [] if extensions is None else [by_value(new_extensions(extensions))]
        epoch = self.made.state.epoch
        leaf = certified(self.made.members[by], self.wish if by else self.own)
        data = self.made.commit(by, proposals, self.made.path(by, leaf=leaf))
        return replace(Bundle(GROUP, epoch, data, [], None, [], [], os.urandom(16), 1), **changed)  # type: ignore[arg-type]

    def info(self, **changed: object) -> bytes:
        """A GroupInfo of the group as it stands."""
        state = self.made.state
        fields: dict[str, object] = {
            "epoch": state.epoch,
            "confirmed": state.context.confirmed_transcript_hash,
            "tag": b"T" * 32,
            "extensions": state.context.extensions,
        }
        return self.made.group_info(**(fields | changed))  # type: ignore[arg-type]

    async def commit(self, bundle: Bundle, by: int = 0) -> GroupCommitted:
        return await self.world.groups.commit(self.phones[by].caller, self.ref, bundle)

    async def standing(self) -> str | None:
        row, _ = await self.world.groups.look(self.phones[0].caller, self.ref)
        return None if row.tracking is None else row.tracking.standing.name

    async def findings(self) -> list[FindingCode]:
        entries = [decode_entry(data) for (data,) in await self.world.rows("SELECT d FROM ledger_entry ORDER BY i")]
        return [one.code for one in entries if isinstance(one, Finding)]


@asynccontextmanager
async def rcs_chat(
    folder: Path, *extensions: Extension, roots: tuple[Root, ...] = ROOTS, wish: Wish = LEAF
) -> AsyncGenerator[RcsChat]:
    async with opened(folder, ManualClock(NOW_S * 1_000), (1, 2), roots) as world:
        chat = RcsChat(world, extensions, wish)
        await chat.start()
        yield chat
