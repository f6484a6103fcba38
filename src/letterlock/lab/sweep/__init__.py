"""The canary sweep: looks for what must be nowhere, in every encoding, and proves that it would have found it.

>>> report = sweep([Canary("body", "the text that was sent")], [Directory(path, "gateway files")])
>>> report.clean
"""

from letterlock.lab.sweep.encodings import Canary, CanaryError, CanaryReason, Encoding
from letterlock.lab.sweep.places import (
    Capture,
    Directory,
    File,
    Place,
    PlaceError,
    PlaceReason,
    ProcessMemory,
)
from letterlock.lab.sweep.sweeper import ControlKind, Location, PlaceReport, SweepReport, sweep

__all__ = [
    "Canary",
    "CanaryError",
    "CanaryReason",
    "Capture",
    "ControlKind",
    "Directory",
    "Encoding",
    "File",
    "Location",
    "Place",
    "PlaceError",
    "PlaceReason",
    "PlaceReport",
    "ProcessMemory",
    "SweepReport",
    "sweep",
]
