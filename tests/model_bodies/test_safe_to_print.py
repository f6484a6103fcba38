"""Every error and every repr of the package is safe with a secret inside; both are found by looking, not by list."""

import dataclasses
import importlib
import pkgutil
import traceback
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest

import letterlock
from letterlock.model.errors import Fault, LetterlockError, OperationError, Reason
from letterlock.model.ids import MessageId

SECRET = "QxSECRETxQ"
SECRET_BYTES = SECRET.encode()


def all_modules() -> Iterator[types.ModuleType]:
    for found in pkgutil.walk_packages(letterlock.__path__, "letterlock."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


MODULES = list(all_modules())


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    sub: type[Any]
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


ERRORS = sorted(
    {e for e in subclasses(OperationError) if e.__module__.startswith("letterlock.")}, key=lambda e: e.__qualname__
)


def reasons_of(error: type) -> type[Reason]:
    for base in getattr(error, "__orig_bases__", ()):
        for argument in typing.get_args(base):
            if isinstance(argument, type) and issubclass(argument, Reason):
                return argument
    raise AssertionError(f"{error.__qualname__} does not name its closed reasons")


def test_there_are_errors_to_look_at() -> None:
    assert {"KeyStoreError", "SealingError", "VaultError", "SpecError"} <= {e.__name__ for e in ERRORS}
    assert len(ERRORS) >= 8


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__qualname__)
def test_every_error_has_closed_reasons_and_a_fault(error: type[OperationError[Reason]]) -> None:
    assert isinstance(error.fault, Fault)
    assert isinstance(vars(error).get("fault", error.fault), Fault)
    reasons = reasons_of(error)
    assert list(reasons)
    for reason in reasons:
        assert reason.value == reason.value.lower().strip()
        assert reason.value.replace("_", "").isalnum()
        assert reason.value.isascii()


OWN_WORDS = {"PolicyError", "SettingsError", "WrongEpochError"}
"""Errors with a constructor or words of their own: a review reads them, and their rooms test what they say."""
PLAIN_ERRORS = [error for error in ERRORS if error.__name__ not in OWN_WORDS]


@pytest.mark.parametrize("error", PLAIN_ERRORS, ids=lambda error: error.__qualname__)
def test_no_error_takes_or_shows_content(error: type[OperationError[Reason]]) -> None:
    for reason in reasons_of(error):
        for content in (SECRET, SECRET_BYTES, bytearray(SECRET_BYTES), [SECRET], {SECRET: 1}, 1.5, None, object()):
            with pytest.raises(TypeError) as refused:
                error(reason, fact=content)  # type: ignore[arg-type]
            assert SECRET not in str(refused.value)
        made = error(reason, size=3, reason_given=reason, message=MessageId(b"m" * 16))
        shown = str(made) + repr(made) + "".join(traceback.format_exception_only(made)) + repr(made.args)
        assert reason.text in shown
        assert SECRET not in shown


@pytest.mark.parametrize("error", PLAIN_ERRORS, ids=lambda error: error.__qualname__)
def test_no_error_overrides_how_it_prints(error: type) -> None:
    for name in ("__str__", "__repr__", "__format__", "add_note"):
        assert name not in vars(error)


def test_other_errors_of_ours_take_no_free_text() -> None:
    for error in subclasses(LetterlockError):
        if error.__module__.startswith("letterlock.") and not issubclass(error, OperationError):
            with pytest.raises(TypeError):
                error(SECRET, SECRET)


SENSITIVE = {
    "text", "content", "body", "octets", "plaintext", "data", "payload", "short_message", "password", "passphrase",
    "secret", "seed", "key", "data_key", "private_key", "token", "api_key", "address", "number", "msisdn", "phone",
    "digits", "identifier", "peer", "source_addr", "destination_addr", "source_address", "destination_address",
    "present", "lookup", "sealed",
}  # fmt: skip
"""Names of fields of text or bytes that can hold what must not be printed."""
PUBLIC = {"wire.tlog.growth.FullTile", "wire.tlog.note.Note"}
"""What a ledger publishes for everybody, under one of those names."""
OPEN_FINDINGS = {
    "faces.http.routes.Answer",
    "gateway.sealed.Offered",
    "wire.sms.session.Write",
    "wire.stream.Delivery",
    "wire.stream.Submission",
}
"""Found by this test and not mended yet: shown as expected failures until their fields have ``repr=False``."""


def dataclasses_of_ours() -> list[type]:
    found: set[type] = set()
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and dataclasses.is_dataclass(value):
                found.add(value)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))


def short_name(kind: type) -> str:
    return f"{kind.__module__.removeprefix('letterlock.')}.{kind.__qualname__}"


def sensitive(kind: type, field: dataclasses.Field[object]) -> bool:
    hint = str(field.type)
    holds = any(word in hint for word in ("bytes", "bytearray", "memoryview", "str"))
    if field.name == "key" and "bytes" not in hint:  # the name of a setting
        return False
    return holds and field.name.lower().strip("_") in SENSITIVE and short_name(kind) not in PUBLIC


@pytest.mark.parametrize("kind", dataclasses_of_ours(), ids=short_name)
def test_no_repr_shows_what_a_value_holds(kind: type) -> None:
    """Built past its constructor, with the secret in every field that could hold content, a number or a key."""
    value: Any = object.__new__(kind)
    fields = dataclasses.fields(kind)
    for field in fields:
        if sensitive(kind, field):
            hint = str(field.type)
            filled: object = SECRET_BYTES if "byte" in hint or "memoryview" in hint else SECRET
        elif isinstance(field.type, type) and issubclass(field.type, Enum):
            filled = next(iter(field.type))
        else:
            filled = 1
        object.__setattr__(value, field.name, filled)
    try:
        shown = repr(value) + str(value)
    except (AttributeError, TypeError):
        shown = ""  # a repr of its own that needs real parts: tested where it lives
    if SECRET in shown and short_name(kind) in OPEN_FINDINGS:
        pytest.xfail("its owner gives the field repr=False")
    assert SECRET not in shown, [field.name for field in fields if sensitive(kind, field) and field.repr]


def test_the_search_would_find_a_leak() -> None:
    @dataclasses.dataclass
    class Leaky:
        body: bytes

    @dataclasses.dataclass
    class Tight:
        body: bytes = dataclasses.field(repr=False)

    for kind, leaks in ((Leaky, True), (Tight, False)):
        assert sensitive(kind, dataclasses.fields(kind)[0])
        if leaks:
            with pytest.raises(AssertionError, match="body"):
                test_no_repr_shows_what_a_value_holds(kind)
        else:
            test_no_repr_shows_what_a_value_holds(kind)
