"""Welcome and GroupInfo (RFC 9420, sections 12.4.3 and 12.4.3.1), as far as they can be read without keys."""

from dataclasses import dataclass

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.structures import (
    AEAD_TAG,
    Extension,
    GroupContext,
    HpkeCiphertext,
    read_extensions,
    read_group_context,
    read_hash,
    read_hpke_ciphertext,
    read_suite,
)
from letterlock.wire.mls.suites import hash_sizes


@dataclass(frozen=True, slots=True, repr=False)
class EncryptedGroupSecrets:
    """The group's secrets, sealed for the init key of one key package."""

    key_package_ref: bytes
    sealed: HpkeCiphertext


@dataclass(frozen=True, slots=True, repr=False)
class Welcome:
    """RFC 9420, section 12.4.3.1."""

    suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes


@dataclass(frozen=True, slots=True, repr=False)
class GroupInfo:
    """RFC 9420, section 12.4.3. ``content`` is what the signature covers."""

    context: GroupContext
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: int
    content: bytes
    signature: bytes


def read_welcome(reader: Reader) -> Welcome:
    """A Welcome for at least one client; a reference is as long as the suite's hash."""
    suite = read_suite(reader)
    sizes = hash_sizes(suite)

    def read_secrets(inner: Reader) -> EncryptedGroupSecrets:
        return EncryptedGroupSecrets(read_hash(inner, sizes), read_hpke_ciphertext(inner))

    return Welcome(suite, reader.items(read_secrets, low=1), reader.opaque(AEAD_TAG))


def read_group_info(reader: Reader) -> GroupInfo:
    """A GroupInfo in clear, as it is published for those who join from outside."""
    start = reader.at
    context = read_group_context(reader)
    extensions = read_extensions(reader)
    confirmation_tag = read_hash(reader, hash_sizes(context.suite))
    signer = reader.u32()
    content = reader.data[start : reader.at]
    return GroupInfo(context, extensions, confirmation_tag, signer, content, reader.opaque(1))
