"""A followed group as bytes, for whoever keeps it: versioned, strict, and checked against its own tree hash.

The bytes hold nothing secret. They are believed: signatures are not checked again, for that was done when each leaf
came, so a store that others can write needs protection of its own.
"""

from typing import Final

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.errors import FramingError
from letterlock.wire.mls.group.commit import Sent
from letterlock.wire.mls.group.errors import FollowError, FollowReason
from letterlock.wire.mls.group.follower import FOLLOWED, MAX_WAITING, Gap, PublicGroup, Waiting
from letterlock.wire.mls.group.reading import read_era, read_handshake
from letterlock.wire.mls.group.transcript import encode_context, proposal_ref
from letterlock.wire.mls.group.tree import parse_tree
from letterlock.wire.mls.proposals import Commit
from letterlock.wire.mls.structures import read_group_context, read_hash
from letterlock.wire.mls.suites import CipherSuite, hash_sizes

VERSION: Final = 1


def pack(group: PublicGroup) -> bytes:
    """The state as bytes: one byte of version, then fields in the MLS codec."""
    out = Writer().u8(VERSION).raw(encode_context(group.context)).opaque(group.interim).opaque(group.tree.encode())
    for index, _ in group.tree.members():
        out.u64(group.until[index])
    gap = group.last_gap
    out.u64(group.anchored).u32(group.gaps).u8(gap is not None)
    if gap is not None:
        out.u64(gap.after).u64(gap.resumed)
    waiting = Writer()
    for one in group.waiting.values():
        waiting.opaque(one.message)
    return out.opaque(waiting.done()).done()


def unpack(data: bytes) -> PublicGroup:
    """The state from its bytes.

    Raises:
        FollowError: STATE_DAMAGED.
    """
    group: PublicGroup | None = None
    try:
        group = _read(Reader(bytes(data)))
    except (FramingError, FollowError):
        group = None
    if group is None:
        raise FollowError(FollowReason.STATE_DAMAGED)
    return group


def _read(reader: Reader) -> PublicGroup | None:
    if reader.u8() != VERSION:
        return None
    context = read_group_context(reader)
    if context.suite not in FOLLOWED:
        return None
    suite = CipherSuite(context.suite)
    interim = read_hash(reader, hash_sizes(suite))
    tree = parse_tree(suite, reader.opaque())
    until = {index: reader.u64() for index, _ in tree.members()}
    anchored, gaps = reader.u64(), reader.u32()
    gap = Gap(reader.u64(), reader.u64()) if reader.optional() else None
    messages = reader.items(Reader.opaque)
    reader.finish()
    read_era(context.extensions)
    if tree.tree_hash != context.tree_hash or len(messages) > MAX_WAITING or (gap is None) is not (gaps == 0):
        return None
    waiting: dict[bytes, Waiting] = {}
    for message in messages:
        handshake = read_handshake(message)
        body = handshake.body
        if isinstance(body, Commit) or handshake.epoch != context.epoch:
            return None
        waiting[proposal_ref(suite, handshake)] = Waiting(Sent(body, handshake.sender), message)
    return PublicGroup(context, tree, interim, until, waiting, anchored, gaps, gap)
