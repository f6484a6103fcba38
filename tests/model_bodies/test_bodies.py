"""Bodies: an OpenBody becomes nothing but what reveal shows, and each other body is made in one place only."""

import ast
import copy
import gc
import io
import json
import logging
import operator
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import letterlock
from letterlock.model.bodies import (
    BodyLeakError,
    OpenBody,
    RevealPurpose,
    SealedBody,
    SealedKind,
    ShreddableBody,
    sealed_by_parser,
)

SECRET = b"attack at dawn"
SOURCE = Path(letterlock.__file__).parent

REVEALERS = {
    "custody/sealing.py": {"SEAL_FOR_WAITING"},
    "wire/cpim/message.py": {"ENCODE_FOR_TRANSPORT"},
    "wire/sms/encode.py": {"ENCODE_FOR_TRANSPORT", "MEASURE"},
    "lab/smsc/phone.py": {"ENCODE_FOR_TRANSPORT"},
    "gateway/body_digest.py": {"COMMIT_DIGEST"},
}
"""The modules that may look into an OpenBody, and for what: a review reads these. All others must not."""


def body() -> OpenBody:
    return OpenBody(SECRET)


LEAKS: dict[str, Callable[[OpenBody], object]] = {
    "str": str,
    "bytes": bytes,
    "bytearray": lambda b: bytearray(b),
    "memoryview": lambda b: memoryview(b),  # type: ignore[arg-type]
    "format": format,
    "f-string": lambda b: f"{b}",
    "f-string with width": lambda b: f"{b:>10}",
    "percent": lambda b: "%s" % b,  # noqa: UP031
    "str.format": lambda b: "{}".format(b),  # noqa: UP032
    "join": lambda b: "".join(b),
    "bytes join": lambda b: b"".join(b),
    "list": lambda b: list(b),
    "iter": lambda b: iter(b),
    "unpack": lambda b: [*b],
    "index": lambda b: b[0],
    "slice": lambda b: b[:],
    "contains": lambda b: b"dawn" in b,
    "len": lambda b: len(b),
    "bool": bool,
    "hash": hash,
    "eq": lambda b: b == b,
    "eq bytes": lambda b: b == SECRET,
    "ne": lambda b: b != SECRET,
    "lt": lambda b: operator.lt(b, SECRET),
    "le": lambda b: operator.le(b, SECRET),
    "gt": lambda b: operator.gt(b, SECRET),
    "ge": lambda b: operator.ge(b, SECRET),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "pickle 0": lambda b: pickle.dumps(b, 0),
    "reduce": lambda b: b.__reduce__(),
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
    "vars": vars,
    "attribute": lambda b: b.content,  # type: ignore[attr-defined]
    "write": lambda b: io.BytesIO().write(b),  # type: ignore[arg-type]
    "set": lambda b: {b},
    "add": lambda b: b + b"",  # type: ignore[operator]
}


@pytest.mark.parametrize("way", LEAKS)
def test_an_accidental_flow_is_an_error(way: str) -> None:
    with pytest.raises((BodyLeakError, TypeError, AttributeError)) as caught:
        LEAKS[way](body())
    shown = "".join(traceback.format_exception(caught.value))
    assert "dawn" not in shown.replace('b"dawn" in b', "")


def test_reveal_shows_it_to_the_named_purposes_alone() -> None:
    for purpose in RevealPurpose:
        with body().reveal(purpose) as view:
            assert bytes(view) == SECRET
            with pytest.raises(TypeError):
                view[0] = 0
    for wrong in ("measure", None, 1, RevealPurpose):
        with pytest.raises(BodyLeakError), body().reveal(wrong):  # type: ignore[arg-type]
            pass
    with body().reveal(RevealPurpose.MEASURE) as view:
        kept = view
    with pytest.raises(ValueError, match="released"):
        bytes(kept)


def test_destroy_overwrites_and_is_refused_while_somebody_looks() -> None:
    one = body()
    buffer = one._buffer
    assert one.size == len(SECRET)
    with one.reveal(RevealPurpose.MEASURE) as outer:
        with one.reveal(RevealPurpose.MEASURE), pytest.raises(BodyLeakError):
            one.destroy()
        with pytest.raises(BodyLeakError):
            one.destroy()
        assert bytes(outer) == SECRET
    one.destroy()
    one.destroy()
    assert (one.size, bytes(buffer)) == (0, b"")
    with one.reveal(RevealPurpose.MEASURE) as view:
        assert bytes(view) == b""


def test_it_takes_its_own_copy_and_prints_nothing(caplog: pytest.LogCaptureFixture) -> None:
    given = bytearray(SECRET)
    one = OpenBody(given)
    given[:] = bytes(len(given))
    with one.reveal(RevealPurpose.MEASURE) as view:
        assert bytes(view) == SECRET
    assert repr(one) == "<OpenBody>"
    assert repr([one]) == "[<OpenBody>]"
    logging.getLogger("test").warning("%r", one)
    assert "dawn" not in caplog.text
    assert not hasattr(one, "__dict__")
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]


def test_no_class_may_open_it_by_inheriting() -> None:
    with pytest.raises(BodyLeakError):
        type("Sub", (OpenBody,), {})
    gc.collect()


def test_a_sealed_body_comes_from_the_parser() -> None:
    for proof in (None, object(), True, "parser"):
        with pytest.raises(BodyLeakError):
            SealedBody(proof, b"x", SealedKind.WELCOME, b"", 0, b"")
    sealed = sealed_by_parser(SECRET, SealedKind.WELCOME, b"group-id", 7, b"aad-bytes")
    assert (sealed.ciphertext, sealed.group_id, sealed.epoch) == (SECRET, b"group-id", 7)
    assert repr(sealed) == f"<SealedBody welcome, {len(SECRET)} bytes>"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises((BodyLeakError, TypeError)):
            pickle.dumps(sealed, protocol)


def test_a_shreddable_body_prints_its_generation_and_size() -> None:
    assert repr(ShreddableBody(SECRET, b"wrapped", 3)) == f"<ShreddableBody generation 3, {len(SECRET)} bytes>"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text("utf-8"))


def reveals(tree: ast.AST) -> Iterator[str]:
    """The purposes of all looks into a body in a module; one that is not a plain RevealPurpose is named so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "reveal":
            yield "used"
        if isinstance(node, ast.Constant) and node.value == "reveal":
            yield "by name"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reveal":
            purpose = node.args[0] if node.args else None
            yield purpose.attr if isinstance(purpose, ast.Attribute) else "not a literal purpose"


def test_only_named_modules_look_into_bodies() -> None:
    found = {name: set(reveals(tree)) - {"used"} for name, tree in modules() if set(reveals(tree))}
    assert "custody/sealing.py" in found  # the search finds what is there
    too_much = {name: sorted(why - REVEALERS.get(name, set())) or ["not called"] for name, why in found.items()}
    too_much = {name: why for name, why in too_much.items() if name not in REVEALERS or why != ["not called"]}
    assert too_much == {}


@pytest.mark.parametrize(
    "source",
    [
        "b.reveal(RevealPurpose.MEASURE)",
        "f = b.reveal",
        "getattr(b, 'reveal')",
        "x.y().reveal(p)",
        "OpenBody.reveal(b, p)",
    ],
)
def test_the_search_sees_every_spelling(source: str) -> None:
    assert set(reveals(ast.parse(source)))
    assert not set(reveals(ast.parse("b.conceal(RevealPurpose.MEASURE)")))


def test_nobody_reaches_past_reveal_or_makes_sealed_bodies() -> None:
    for name, tree in modules():
        if name == "model/bodies.py":
            continue
        for node in ast.walk(tree):
            private = isinstance(node, ast.Attribute) and node.attr == "_buffer" and name.startswith("custody/")
            assert not private, name
            named = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
            assert named != "_PARSER_ONLY", name
            if named == "sealed_by_parser":
                assert name.startswith("wire/mls/"), name
