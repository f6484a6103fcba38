"""What is signed and hashed about handshakes (RFC 9420, sections 5.2, 6.1, 8.1 and 8.2), in public framing."""

import hashlib
from typing import Final

from letterlock.wire.mls.codec import Writer
from letterlock.wire.mls.public import PublicMessage, SenderKind
from letterlock.wire.mls.structures import MLS10, Extension, GroupContext
from letterlock.wire.mls.suites import SIZES, CipherSuite, ref_hash

_PUBLIC: Final = 1
_PROPOSAL_LABEL: Final = b"MLS 1.0 Proposal Reference"
_KNOWS_CONTEXT: Final = frozenset({SenderKind.MEMBER, SenderKind.NEW_MEMBER_COMMIT})


def encode_extensions(extensions: tuple[Extension, ...]) -> bytes:
    """``Extension extensions<V>``."""
    out = Writer()
    for extension in extensions:
        out.u16(extension.kind).opaque(extension.data)
    return Writer().opaque(out.done()).done()


def encode_context(context: GroupContext) -> bytes:
    """A GroupContext (section 8.1)."""
    out = Writer().u16(MLS10).u16(context.suite).opaque(context.group_id).u64(context.epoch)
    out.opaque(context.tree_hash).opaque(context.confirmed_transcript_hash)
    return out.raw(encode_extensions(context.extensions)).done()


def signed_content(message: PublicMessage, context: GroupContext) -> bytes:
    """``FramedContentTBS`` (section 6.1): members sign the group's context too, outsiders cannot."""
    out = Writer().u16(MLS10).u16(_PUBLIC).raw(message.content)
    if message.sender.kind in _KNOWS_CONTEXT:
        out.raw(encode_context(context))
    return out.done()


def proposal_ref(suite: CipherSuite, message: PublicMessage) -> bytes:
    """How a commit names a proposal that was sent before (section 5.2)."""
    whole = Writer().u16(_PUBLIC).raw(message.content).opaque(message.signature).done()
    return ref_hash(suite, _PROPOSAL_LABEL, whole)


def confirmed_transcript_hash(suite: CipherSuite, interim: bytes, content: bytes, signature: bytes) -> bytes:
    """Of the epoch that a public commit begins.

    Args:
        suite: the group's.
        interim: the interim transcript hash of the epoch before.
        content: the commit's FramedContent.
        signature: the commit's.
    """
    return _hash(suite, Writer().raw(interim).u16(_PUBLIC).raw(content).opaque(signature).done())


def interim_transcript_hash(suite: CipherSuite, confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """Of an epoch, from its confirmed transcript hash and the tag that only members can check."""
    return _hash(suite, Writer().raw(confirmed).opaque(confirmation_tag).done())


def _hash(suite: CipherSuite, content: bytes) -> bytes:
    return hashlib.new(SIZES[suite].hash_name, content).digest()
