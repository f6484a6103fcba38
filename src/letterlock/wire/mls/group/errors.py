"""Why a group's public state could not be taken or followed. Reasons and leaf indexes only."""

from enum import unique
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason


@unique
class FollowReason(Reason):
    """Why a tree, a GroupInfo, a proposal or a commit was not accepted (RFC 9420 unless another source is named)."""

    # What was handed in.
    MALFORMED = "malformed"
    """The strict parser refused it; a proposal of an unknown type is among these, for its length is unknown."""
    SUITE = "suite"
    """Not one of the cipher suites that are followed."""
    TOO_LARGE = "too_large"
    """More leaves, nodes or waiting proposals than a follower keeps."""
    NO_TREE = "no_tree"
    """A GroupInfo without its tree."""

    # The tree (sections 7.3, 7.8, 7.9, 12.4.3.1).
    BLANK_AT_END = "blank_at_end"
    """The tree's last node is blank."""
    NODE_KIND = "node_kind"
    """A leaf where a parent belongs, or the reverse."""
    UNMERGED_LEAVES = "unmerged_leaves"
    PARENT_HASH = "parent_hash"
    TREE_HASH = "tree_hash"
    DUPLICATE_KEY = "duplicate_key"
    """An encryption key or a signature key stands in two places."""
    KEY_SIZE = "key_size"
    LEAF_SIGNATURE = "leaf_signature"
    LIFETIME = "lifetime"
    """A leaf outside its lifetime."""
    CAPABILITIES = "capabilities"
    """A leaf does not say that it can do what the group needs."""
    CREDENTIAL = "credential"
    """The rule for credentials refused a leaf; the fact ``credential`` says why."""

    # Who sent it, and for which state (sections 6.1, 12.4.3).
    SIGNER = "signer"
    """A GroupInfo by a leaf that is blank."""
    GROUP_INFO_SIGNATURE = "group_info_signature"
    WRONG_GROUP = "wrong_group"
    WRONG_EPOCH = "wrong_epoch"
    SENDER = "sender"
    """The sender is not in the group, or is no external sender of it."""
    SIGNATURE = "signature"

    # Proposals and commits (sections 12.1, 12.2, 12.4).
    PROPOSAL_UNKNOWN = "proposal_unknown"
    """A reference to a proposal that was not seen in this epoch."""
    PROPOSAL_ALLOWED = "proposal_not_allowed"
    """This sender may not make this proposal, or no regular commit may hold it."""
    PROPOSAL_TARGET = "proposal_target"
    """A proposal about a leaf that is blank, about the committer's own, or about one leaf twice."""
    PROPOSAL_DUPLICATE = "proposal_duplicate"
    KEY_PACKAGE = "key_package"
    """A key package of another suite, with a reused key, or with a broken signature."""
    PSK = "psk"
    """A pre-shared key whose nonce or use is not allowed here."""
    PATH_MISSING = "path_missing"
    PATH_SHAPE = "path_shape"
    """A path with another number of nodes, or of sealed secrets, than the tree demands."""
    PATH_KEY = "path_key"
    """A path that brings a key which is in the tree already."""

    # Findings: valid perhaps, and not to be followed.
    EXTERNAL_COMMIT = "external_commit"
    """Somebody outside joins by their own commit."""
    REINIT = "reinit"
    """The group ends in favour of a new one."""
    PRIVATE_HANDSHAKE = "private_handshake"
    """A proposal or commit that nobody outside can read: from here on the state is unknown."""
    FORK = "fork"
    """A valid GroupInfo of this group and epoch tells another state."""
    ERA = "era"
    """GSMA RCC.16: an era that is none, or that changes within a group. A new era is a new group."""
    NOT_LATER = "not_later"
    """A new anchor that does not lie after what was followed."""
    STATE_DAMAGED = "state_damaged"
    """A stored state of another version, or one that contradicts itself."""


class FollowError(OperationError[FollowReason]):
    """A group's public state cannot be taken or followed. The state before it stays as it is."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class CredentialReason(Reason):
    """Why the rule for credentials refused a leaf."""

    KIND = "kind"
    """A kind of credential that the profile does not use."""
    NOT_THE_KEY = "not_the_key"
    """A basic credential that is not the leaf's own signature key: a name could be borrowed."""
    NOT_LISTED = "not_listed"
    """No account-signed device list names the leaf's key."""

    CERTIFICATE_MALFORMED = "certificate_malformed"
    CHAIN = "chain"
    """No chain to a configured root."""
    KEY_DIFFERS = "key_differs"
    """The certificate is for another key than the leaf's."""
    ALGORITHM = "algorithm"
    SUBJECT = "subject"
    """Not exactly one ``tel:`` address."""
    KEY_USE = "key_use"
    """Key usage, extended key usage or policy are not the profile's."""
    EXTENSION = "extension"
    """A critical extension that nobody here understands."""
    VENDOR = "vendor"
    """The leaf's vendor is not its root's."""
    VALIDITY = "validity"
    """Outside its validity, or valid for longer than the profile permits."""
    TOO_LITTLE_LEFT = "too_little_left"
    """Fewer days are left than the profile demands."""


class CredentialError(OperationError[CredentialReason]):
    """A leaf's credential is not acceptable."""

    fault: ClassVar[Fault] = Fault.PEER
