"""The sweep: canaries sought in places, each place proven by a control that was found there.

A sweep that finds nothing says something only if it would have found what was there. So a control is planted in
every place in every encoding first, and one that is not found fails the sweep, as does a place that could not be
read. Where nothing can be planted, a text known to be there is named; it proves that the place is read, and the
encodings are proven on a stream beside it.
"""

import gzip
import io
import random
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from letterlock.lab.sweep.encodings import COMPRESSED, Canary, Encoding, patterns
from letterlock.lab.sweep.matcher import Matcher, Stream
from letterlock.lab.sweep.places import Capture, Place, PlaceError, PlaceReason

SEPARATOR: Final = b"\x00\xa7\x00\xa7\x00\xa7\x00\xa7"
MAX_LOCATIONS: Final = 20
"""Hits whose whereabouts a report lists for each place; all are counted."""
_LETTERS: Final = "bcdfghjkmnpqrstvwxzBCDFGHJKMNPQRSTVWXZ23456789"


@unique
class ControlKind(Enum):
    """How a place was proven."""

    PLANTED = "planted"
    """Put there in every encoding."""
    PRESENT = "present"
    """Something known was there; the encodings were proven beside it."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a hit was."""

    canary: str
    encoding: Encoding
    stream: str
    offset: int


@dataclass(frozen=True, slots=True)
class PlaceReport:
    """What was found in one place.

    Attributes:
        place: its name.
        control: how it was proven.
        controls: for each encoding, whether its control was found.
        read: bytes that were searched, controls included.
        hits: for each canary's label and encoding, how often it was found.
        locations: where the first of them were.
        failure: why the place could not be read, or None.
        cut_short: compressed members that were not followed to their end.
    """

    place: str
    control: ControlKind
    controls: Mapping[Encoding, bool]
    read: int
    hits: Mapping[tuple[str, Encoding], int]
    locations: tuple[Location, ...]
    failure: PlaceReason | None
    cut_short: int

    @property
    def proven(self) -> bool:
        """Whether finding nothing here would mean something."""
        return self.failure is None and bool(self.controls) and all(self.controls.values()) and not self.cut_short


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What was found everywhere."""

    places: tuple[PlaceReport, ...]

    @property
    def hits(self) -> int:
        """All occurrences of all canaries."""
        return sum(sum(place.hits.values()) for place in self.places)

    @property
    def proven(self) -> bool:
        """Whether every place was read and every control found."""
        return bool(self.places) and all(place.proven for place in self.places)

    @property
    def clean(self) -> bool:
        """Nothing was found, and it would have been."""
        return self.proven and not self.hits

    def hits_by_canary(self) -> dict[str, int]:
        """Occurrences by label, over all places."""
        counted: Counter[str] = Counter()
        for place in self.places:
            for (label, _), count in place.hits.items():
                counted[label] += count
        return dict(counted)

    def lines(self) -> tuple[str, ...]:
        """The report for people; never a canary."""
        told: list[str] = []
        for place in self.places:
            found = sum(place.controls.values())
            state = place.failure.text if place.failure else f"{found} of {len(place.controls)} controls found"
            told.append(
                f"{place.place}: {place.read} bytes, control {place.control.value}, {state}, "
                f"{sum(place.hits.values())} canaries"
            )
            if place.cut_short:
                told.append(f"  {place.cut_short} compressed members not followed to their end")
            told.extend(f"  control not found: {e.value}" for e, was in place.controls.items() if not was)
            told.extend(f"  {label} as {e.value}: {count} times" for (label, e), count in place.hits.items())
            told.extend(f"    in {spot.stream} at {spot.offset}" for spot in place.locations)
        told.append("clean" if self.clean else "CANARIES FOUND" if self.hits else "NOT PROVEN")
        return tuple(told)


@dataclass(slots=True)
class _Tally:
    counts: Counter[tuple[int, Encoding]] = field(default_factory=Counter)
    spots: list[tuple[int, Encoding, str, int]] = field(default_factory=list)
    read: int = 0
    cut_short: int = 0


def controls(source: random.Random) -> tuple[Canary, ...]:
    """Random texts and a number, of every shape that decides about encodings."""

    def letters(count: int) -> str:
        return "".join(source.choices(_LETTERS, k=count))

    first = source.choice("123456789")
    return (
        Canary("control-plain", f"{letters(12)} @_/{letters(12)}"),
        Canary("control-gsm", f"{letters(12)}é€{letters(12)}"),
        Canary("control-latin", f"{letters(12)}ýÿ{letters(12)}"),
        Canary("control-base64", f"{letters(6)}???>>>~~~ÿÿÿ{letters(6)}"),
        Canary("control-unicode", f"{letters(8)}ж😀{letters(8)}"),
        Canary("control-number", first + "".join(source.choices("0123456789", k=13)), is_number=True),
    )


def control_bytes(planted: Sequence[Canary]) -> bytes:
    """All patterns of the controls, and each text compressed in every way."""
    parts: list[bytes] = []
    for canary in planted:
        parts.extend(patterns(canary))
        text = f"..{canary.secret}..".encode()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
            writer.writestr("entry", text)
        parts.extend((gzip.compress(text), zlib.compress(text), archive.getvalue()))
    return SEPARATOR.join((b"", *parts, b""))


def sweep(canaries: Sequence[Canary], places: Sequence[Place], source: random.Random | None = None) -> SweepReport:
    """Looks for every canary in every place, with controls. Never raises for what it meets; the report says it."""
    planted = controls(source or random.SystemRandom())
    return SweepReport(tuple(_sweep_place(tuple(canaries), planted, place) for place in places))


def _sweep_place(canaries: tuple[Canary, ...], planted: tuple[Canary, ...], place: Place) -> PlaceReport:
    present = place.present
    known: tuple[Canary, ...] = planted if present is None else (Canary("present", present),)
    matcher = Matcher((*canaries, *known))
    tally = _Tally()
    failure: PlaceReason | None = None
    try:
        if present is None:
            with place.plant(control_bytes(planted)):
                _read(place, matcher, tally)
        else:
            _read(place, matcher, tally)
    except PlaceError as error:
        failure = error.reason
    found = _controls_found(tally, len(canaries), known)
    if present is not None and any(found.values()):
        beside = _Tally()
        _read(Capture(control_bytes(planted), "beside"), Matcher(planted), beside)
        found = _controls_found(beside, 0, planted)
    elif present is not None:
        found = {Encoding.UTF_8: False}
    hits = {(canaries[i].label, e): n for (i, e), n in sorted(tally.counts.items(), key=str) if i < len(canaries)}
    spots = [spot for spot in tally.spots if spot[0] < len(canaries)][:MAX_LOCATIONS]
    return PlaceReport(
        place.name,
        ControlKind.PLANTED if present is None else ControlKind.PRESENT,
        found,
        tally.read,
        hits,
        tuple(Location(canaries[i].label, e, _safe(stream, canaries), at) for i, e, stream, at in spots),
        failure,
        tally.cut_short,
    )


def _controls_found(tally: _Tally, offset: int, known: Sequence[Canary]) -> dict[Encoding, bool]:
    """For each encoding, whether every control that has it was found in it."""
    found: dict[Encoding, bool] = {}
    for index, canary in enumerate(known):
        for encoding in sorted({*patterns(canary).values(), *COMPRESSED}, key=list(Encoding).index):
            was = tally.counts[offset + index, encoding] > 0
            found[encoding] = found.get(encoding, True) and was
    return found


def _read(place: Place, matcher: Matcher, tally: _Tally) -> None:
    for name, pieces in place.streams():

        def found(index: int, encoding: Encoding, at: int, name: str = name) -> None:
            tally.counts[index, encoding] += 1
            if len(tally.spots) < 10_000:
                tally.spots.append((index, encoding, name, at))

        stream = Stream(matcher, found)
        for piece in pieces:
            tally.read += len(piece)
            stream.feed(piece)
        tally.cut_short += stream.cut_short


def _safe(stream: str, canaries: Sequence[Canary]) -> str:
    """The name of a stream, unless it holds a canary itself."""
    held = False

    def found(*_: object) -> None:
        nonlocal held
        held = True

    Stream(Matcher(canaries), found).feed(stream.encode("utf-8", "surrogateescape"))
    return "a file whose name holds a canary" if held else stream
