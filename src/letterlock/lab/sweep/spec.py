"""What to sweep, as JSON: a closed schema, so that a mistyped key is an error and not a place left out."""

from enum import unique
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from letterlock.lab.sweep.encodings import Canary
from letterlock.lab.sweep.places import Directory, File, Place, ProcessMemory
from letterlock.model.errors import Fault, OperationError, Reason

MAX_SPEC: Final = 4 * 1024 * 1024


@unique
class SpecReason(Reason):
    """Why a specification was refused."""

    MALFORMED = "sweep_specification_malformed"
    TOO_LARGE = "sweep_specification_too_large"
    EMPTY = "nothing_to_sweep"


class SpecError(OperationError[SpecReason]):
    """A sweep specification cannot be used."""

    fault: ClassVar[Fault] = Fault.PEER


class _Text(msgspec.Struct, tag="text", tag_field="kind", forbid_unknown_fields=True):
    label: str
    text: str


class _Number(msgspec.Struct, tag="number", tag_field="kind", forbid_unknown_fields=True):
    label: str
    digits: str


class _Directory(msgspec.Struct, tag="directory", tag_field="kind", forbid_unknown_fields=True):
    name: str
    path: str
    present: str | None = None


class _File(msgspec.Struct, tag="file", tag_field="kind", forbid_unknown_fields=True):
    name: str
    path: str
    present: str


class _Process(msgspec.Struct, tag="process", tag_field="kind", forbid_unknown_fields=True):
    name: str
    pid: int
    present: str


class _Spec(msgspec.Struct, forbid_unknown_fields=True):
    canaries: list[_Text | _Number]
    places: list[_Directory | _File | _Process]


def parse_spec(raw: bytes) -> tuple[tuple[Canary, ...], tuple[Place, ...]]:
    """Canaries and places of a specification.

    Raises:
        SpecError: MALFORMED, TOO_LARGE, EMPTY.
        CanaryError: a canary that cannot serve as one.
    """
    if len(raw) > MAX_SPEC:
        raise SpecError(SpecReason.TOO_LARGE, limit=MAX_SPEC)
    try:
        spec = msgspec.json.decode(raw, type=_Spec)
    except (msgspec.DecodeError, msgspec.ValidationError):
        # The decoder's message can quote the input, and that holds canaries.
        raise SpecError(SpecReason.MALFORMED) from None
    if not spec.canaries or not spec.places:
        raise SpecError(SpecReason.EMPTY)
    canaries = tuple(
        Canary(one.label, one.text) if isinstance(one, _Text) else Canary(one.label, one.digits, is_number=True)
        for one in spec.canaries
    )
    return canaries, tuple(_place(one) for one in spec.places)


def _place(one: _Directory | _File | _Process) -> Place:
    if isinstance(one, _Directory):
        return Directory(Path(one.path), one.name, one.present)
    if isinstance(one, _File):
        return File(Path(one.path), one.name, one.present)
    return ProcessMemory(one.pid, one.name, one.present)
