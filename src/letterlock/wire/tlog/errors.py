"""What can be wrong with a log's bytes. One error type per operation, each with a closed list of reasons."""

from enum import unique
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason

MAX_TREE_SIZE: Final = 2**63 - 1
"""Sizes and indexes fit a signed 64-bit integer, as every other implementation of these formats assumes."""


@unique
class TreeReason(Reason):
    """Why a tree or a proof was refused."""

    BAD_SIZE = "bad_size"
    BAD_INDEX = "bad_index"
    BAD_HASH_LENGTH = "bad_hash_length"
    WRONG_PEAKS = "wrong_peaks"
    WRONG_PROOF_LENGTH = "wrong_proof_length"
    ROOT_MISMATCH = "root_mismatch"
    NO_SUCH_HASH = "no_such_hash"


class TreeError(OperationError[TreeReason]):
    """A hash, a tree's stored state or a proof does not fit."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class NoteReason(Reason):
    """Why a signed note, a key or a checkpoint was refused."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    CONTROL_CHARACTER = "control_character"
    NO_SIGNATURE_BLOCK = "no_signature_block"
    MALFORMED_SIGNATURE_LINE = "malformed_signature_line"
    TOO_MANY_SIGNATURES = "too_many_signatures"
    NOT_CANONICAL_BASE64 = "not_canonical_base64"
    MALFORMED_KEY = "malformed_key"
    BAD_KEY_NAME = "bad_key_name"
    KEY_ID_MISMATCH = "key_id_mismatch"
    UNKNOWN_KEY_TYPE = "unknown_key_type"
    NOT_A_LOG_KEY = "not_a_log_key"
    LOG_SIGNATURE_MISSING = "log_signature_missing"
    INVALID_SIGNATURE = "invalid_signature"
    MALFORMED_CHECKPOINT = "malformed_checkpoint"
    WRONG_ORIGIN = "wrong_origin"


class NoteError(OperationError[NoteReason]):
    """A signed note, its key or the checkpoint inside it is not acceptable."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class TileReason(Reason):
    """Why a path, a tile or an entry bundle was refused."""

    BAD_PATH = "bad_path"
    BAD_COORDINATES = "bad_coordinates"
    BAD_LENGTH = "bad_length"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    ENTRY_TOO_LARGE = "entry_too_large"


class TileError(OperationError[TileReason]):
    """A tile or bundle, or its address, is malformed."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class ProofFileReason(Reason):
    """Why a proof file or a receipt was refused."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    BAD_HEADER = "bad_header"
    BAD_EXTRA = "bad_extra"
    BAD_INDEX = "bad_index"
    BAD_HASH = "bad_hash"
    TOO_MANY_HASHES = "too_many_hashes"
    NO_CHECKPOINT = "no_checkpoint"
    MALFORMED_RECEIPT = "malformed_receipt"


class ProofFileError(OperationError[ProofFileReason]):
    """A proof file or a receipt is malformed."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class EntryReason(Reason):
    """Why a ledger entry or a record was refused."""

    TOO_LARGE = "too_large"
    NOT_CANONICAL = "not_canonical"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    BAD_VALUE = "bad_value"
    COUNTS_DISAGREE = "counts_disagree"
    SALT_TOO_SHORT = "salt_too_short"
    BATCH_FULL = "batch_full"
    BATCH_EMPTY = "batch_empty"
    NO_SUCH_SLOT = "no_such_slot"


class EntryError(OperationError[EntryReason]):
    """An entry or a record is outside the closed schema."""

    fault: ClassVar[Fault] = Fault.PEER
