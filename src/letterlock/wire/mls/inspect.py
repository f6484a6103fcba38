"""What a relay needs to know of key packages, Welcomes, commits and GroupInfo. Each takes a whole MLSMessage."""

from dataclasses import dataclass
from typing import Final

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.errors import FramingError, FramingReason
from letterlock.wire.mls.framing import MAX_GROUP_MESSAGE, MAX_MESSAGE, message_format
from letterlock.wire.mls.proposals import Commit, Proposal, ProposalReference
from letterlock.wire.mls.public import Sender, SenderKind, read_public_message
from letterlock.wire.mls.structures import CredentialType, Extension, KeyPackage, UpdatePath, read_key_package
from letterlock.wire.mls.suites import SIZES, CipherSuite, ref_hash, suite_of
from letterlock.wire.mls.welcome import read_group_info, read_welcome

LAST_RESORT: Final = 10
"""The extension ``last_resort`` of a key package (draft-ietf-mls-extensions; IANA value 0x000A)."""
_REF_LABEL: Final = b"MLS 1.0 KeyPackage Reference"


@dataclass(frozen=True, slots=True, repr=False)
class KeyPackageInfo:
    """A key package of a registered suite, with keys of that suite's sizes. Its signatures are *not* yet checked.

    Attributes:
        ref: the KeyPackageRef (RFC 9420, section 5.2), by which a Welcome names it.
        identity: of a basic credential; empty for X.509.
        certificates: DER, leaf first, of an X.509 credential; empty for basic.
        not_before: seconds since 1970 UTC.
        not_after: seconds since 1970 UTC.
        last_resort: its maker allows it to be handed out more than once.
        package: everything, for :func:`letterlock.wire.mls.signatures.check_key_package`.
    """

    ref: bytes
    suite: CipherSuite
    init_key: bytes
    encryption_key: bytes
    signature_key: bytes
    credential_type: CredentialType
    identity: bytes
    certificates: tuple[bytes, ...]
    not_before: int
    not_after: int
    last_resort: bool
    package: KeyPackage

    def __repr__(self) -> str:
        return f"<KeyPackageInfo {self.suite.name}>"


@dataclass(frozen=True, slots=True, repr=False)
class WelcomeInfo:
    """For which key packages a Welcome is. ``suite`` is a code point."""

    suite: int
    key_package_refs: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"<WelcomeInfo for {len(self.key_package_refs)}>"


@dataclass(frozen=True, slots=True, repr=False)
class PublicCommitInfo:
    """A commit in public framing.

    Attributes:
        content: the encoded FramedContent, for the transcript hash and the signature.
        membership_tag: empty for an external commit.
    """

    group_id: bytes
    epoch: int
    sender: Sender
    authenticated_data: bytes
    proposals: tuple[Proposal | ProposalReference, ...]
    path: UpdatePath | None
    content: bytes
    signature: bytes
    confirmation_tag: bytes
    membership_tag: bytes

    @property
    def external(self) -> bool:
        """Somebody outside joins by this commit (RFC 9420, section 12.4.3.2)."""
        return self.sender.kind is SenderKind.NEW_MEMBER_COMMIT

    def __repr__(self) -> str:
        return f"<PublicCommitInfo by {self.sender.kind.name}, epoch {self.epoch}>"


@dataclass(frozen=True, slots=True, repr=False)
class PublishedGroupInfo:
    """A published GroupInfo: ``context_extensions`` are the group's, ``extensions`` the GroupInfo's own."""

    suite: int
    group_id: bytes
    epoch: int
    context_extensions: tuple[Extension, ...]
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: int

    def __repr__(self) -> str:
        return f"<PublishedGroupInfo epoch {self.epoch}>"


def _open(data: bytes, wire_format: int, limit: int) -> Reader:
    if len(data) > limit:
        raise FramingError(FramingReason.TOO_LARGE, size=len(data), limit=limit)
    if message_format(data) != wire_format:
        raise FramingError(FramingReason.WRONG_KIND, offset=2)
    return Reader(bytes(data), 4)


def parse_key_package(data: bytes, *, limit: int = MAX_MESSAGE) -> KeyPackageInfo:
    """Reads an MLSMessage that holds a KeyPackage.

    Raises:
        FramingError: not that; a suite that is not registered; a key of the wrong size; or an init key that is also
            the leaf's encryption key (RFC 9420, section 10.1).
    """
    reader = _open(data, 5, limit)
    package = read_key_package(reader)
    reader.finish()
    suite = suite_of(package.suite)
    sizes = SIZES[suite]
    leaf = package.leaf
    for key, size in (
        (package.init_key, sizes.hpke_key),
        (leaf.encryption_key, sizes.hpke_key),
        (leaf.signature_key, sizes.signature_key),
    ):
        if len(key) != size:
            raise FramingError(FramingReason.LENGTH_OUT_OF_RANGE, length=len(key), expected=size)
    if package.init_key == leaf.encryption_key:
        raise FramingError(FramingReason.KEY_REUSED)
    assert leaf.lifetime is not None, "the reader demands a lifetime in a key package's leaf"
    return KeyPackageInfo(
        ref=ref_hash(suite, _REF_LABEL, package.encoded),
        suite=suite,
        init_key=package.init_key,
        encryption_key=leaf.encryption_key,
        signature_key=leaf.signature_key,
        credential_type=leaf.credential.kind,
        identity=leaf.credential.identity,
        certificates=leaf.credential.certificates,
        not_before=leaf.lifetime[0],
        not_after=leaf.lifetime[1],
        last_resort=any(extension.kind == LAST_RESORT for extension in package.extensions),
        package=package,
    )


def parse_welcome(data: bytes, *, limit: int = MAX_GROUP_MESSAGE) -> WelcomeInfo:
    """Reads an MLSMessage that holds a Welcome.

    Raises:
        FramingError: not that.
    """
    reader = _open(data, 3, limit)
    welcome = read_welcome(reader)
    reader.finish()
    return WelcomeInfo(welcome.suite, tuple(secret.key_package_ref for secret in welcome.secrets))


def parse_public_commit(data: bytes, *, limit: int = MAX_GROUP_MESSAGE) -> PublicCommitInfo:
    """Reads an MLSMessage that holds a commit in a PublicMessage, and tells in what capacity it was sent.

    Raises:
        FramingError: not that; a proposal is WRONG_KIND.
    """
    reader = _open(data, 1, limit)
    message = read_public_message(reader)
    reader.finish()
    body = message.body
    if not isinstance(body, Commit):
        raise FramingError(FramingReason.WRONG_KIND, offset=4)
    return PublicCommitInfo(
        message.group_id,
        message.epoch,
        message.sender,
        message.authenticated_data,
        body.proposals,
        body.path,
        message.content,
        message.signature,
        message.confirmation_tag,
        message.membership_tag,
    )


def parse_group_info(data: bytes, *, limit: int = MAX_GROUP_MESSAGE) -> PublishedGroupInfo:
    """Reads an MLSMessage that holds a GroupInfo in clear. Its signature is not checked.

    Raises:
        FramingError: not that.
    """
    reader = _open(data, 4, limit)
    info = read_group_info(reader)
    reader.finish()
    context = info.context
    return PublishedGroupInfo(
        context.suite,
        context.group_id,
        context.epoch,
        context.extensions,
        info.extensions,
        info.confirmation_tag,
        info.signer,
    )
