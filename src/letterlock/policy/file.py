"""Policy files: TOML, read into the closed schema. Every complaint names the key and its line.

A file may say ``extends = "standard"``: its tables then lie over the profile's, key by key; a list replaces the
profile's list. There is one level of meaning and no other cleverness.
"""

import hashlib
import re
import tomllib
from enum import Enum
from importlib import resources
from typing import Final, cast

import msgspec
from msgspec import inspect

from letterlock.model.protection import Protection
from letterlock.policy.errors import Place, PolicyError, PolicyReason
from letterlock.policy.schema import SCHEMA_VERSION, Policy

MAX_POLICY_BYTES: Final = 64 * 1024
"""Ten times the largest shipped profile; more than a person reviews."""
PROFILES: Final = ("standard", "consumer", "high-risk")

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*=")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_LINE: Final = re.compile(r"at line (\d+)")

Tree = dict[str, object]


def profile_source(name: str) -> str:
    """The text of a shipped profile.

    Raises:
        PolicyError: there is no profile of that name.
    """
    if name not in PROFILES:
        raise PolicyError(PolicyReason.UNKNOWN_PROFILE, allowed=PROFILES)
    return resources.files("letterlock.policy").joinpath("profiles", f"{name}.toml").read_text("utf-8")


def read_policy(source: str | bytes) -> Policy:
    """Reads a policy file, fills in the profile that it extends, and checks it against the schema.

    Nothing is proven yet: :func:`letterlock.policy.proof.prove` does that, and only its result runs.

    Raises:
        PolicyError: not TOML, too large, of a newer schema, an unknown key, a wrong word, type or bound, a key
            missing; with the place in the file.
    """
    text = _decode(source)
    lines = _lines(text)
    tree = _parse(text)
    _check_version(tree, lines)
    base = tree.pop("extends", None)
    if base is not None:
        if not isinstance(base, str) or base not in PROFILES:
            raise PolicyError(PolicyReason.UNKNOWN_PROFILE, place=_place("extends", lines), allowed=PROFILES)
        _check(tree, inspect.type_info(Policy), "", lines, partial=True)
        tree = _overlay(_resolved(base), tree)
    _check(tree, inspect.type_info(Policy), "", lines, partial=False)
    policy = msgspec.convert(tree, Policy)
    _check_names(policy, lines)
    return policy


def digest(policy: Policy) -> bytes:
    """SHA-256 of the canonical policy: what it says, without comments, order of keys or the way it was written."""
    return hashlib.sha256(b"letterlock policy 1\x00" + msgspec.json.encode(policy, order="sorted")).digest()


def _resolved(name: str) -> Tree:
    tree = _parse(profile_source(name))
    base = tree.pop("extends", None)
    return tree if base is None else _overlay(_resolved(str(base)), tree)


def _decode(source: str | bytes) -> str:
    raw = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError(PolicyReason.TOO_LARGE, sentence=f"at most {MAX_POLICY_BYTES} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError(PolicyReason.NOT_UTF8) from None


def _parse(text: str) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = int(found.group(1)) if found else 0
    except (RecursionError, ValueError):  # nesting without end; a number or date of absurd size
        line = 0
    raise PolicyError(PolicyReason.NOT_TOML, place=Place("the file", line))


def _lines(text: str) -> dict[str, int]:
    """The line of each dotted key, by a plain scan: tomllib keeps no positions. An unusual spelling has none."""
    found: dict[str, int] = {}
    section = ""
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header.group(1)
            if line.lstrip().startswith("[["):
                count = seen.get(section, 0)
                seen[section] = count + 1
                section = f"{section}[{count}]"
            found.setdefault(section, number)
        elif key := _KEY.match(line):
            found.setdefault(f"{section}.{key.group(1)}" if section else key.group(1), number)
    return found


def _place(path: str, lines: dict[str, int]) -> Place:
    where = path
    while where not in lines and where:
        where = where.rpartition("[" if where.endswith("]") else ".")[0]
    return Place(path or "the file", lines.get(where, lines.get(f"{path}[0]", 0)))


def _check_version(tree: Tree, lines: dict[str, int]) -> None:
    version = tree.get("schema_version")
    place = _place("schema_version", lines)
    if version is None:
        raise PolicyError(PolicyReason.MISSING_KEY, place=place)
    if type(version) is not int or version < 1:
        raise PolicyError(PolicyReason.WRONG_TYPE, place=place, allowed=(str(SCHEMA_VERSION),))
    if version > SCHEMA_VERSION:
        raise PolicyError(PolicyReason.NEWER_SCHEMA, place=place, allowed=(str(SCHEMA_VERSION),))


def _overlay(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _overlay(cast("Tree", below), cast("Tree", value)) if both else value
    return merged


def _join(path: str, key: str) -> str:
    shown = key if _PLAIN_KEY.fullmatch(key) else "(a key with other characters)"
    return f"{path}.{shown}" if path else shown


def _check(value: object, kind: inspect.Type, path: str, lines: dict[str, int], *, partial: bool) -> None:
    """One value against its place in the schema; with ``partial``, keys may be missing."""
    match kind:
        case inspect.StructType(fields=fields):
            _check_table(value, fields, path, lines, partial=partial)
        case inspect.DictType(value_type=inner, max_length=limit):
            table = cast("Tree", _typed(value, dict, "a table", path, lines))
            _bounded(len(table), 0, limit, "entries", path, lines)
            for key, item in table.items():
                _check(item, inner, _join(path, key), lines, partial=partial)
        case inspect.VarTupleType(item_type=inner, min_length=low, max_length=limit):
            items = cast("list[object]", _typed(value, list, "a list", path, lines))
            _bounded(len(items), low, limit, "items", path, lines)
            for index, item in enumerate(items):
                _check(item, inner, f"{path}[{index}]", lines, partial=False)
            if any(items.count(item) > 1 for item in items):
                raise PolicyError(PolicyReason.REPEATED, place=_place(path, lines))
        case inspect.EnumType(cls=words):
            _check_word(value, words, path, lines)
        case inspect.IntType(ge=low, le=limit):
            number = cast("int", _typed(value, int, "a whole number", path, lines))
            _bounded(number, low, limit, "", path, lines)
        case inspect.StrType(pattern=pattern, min_length=low, max_length=limit):
            text = cast("str", _typed(value, str, "a text", path, lines))
            _bounded(len(text), low, limit, "characters", path, lines)
            if pattern is not None and re.search(pattern, text) is None:
                raise PolicyError(PolicyReason.WRONG_WORD, place=_place(path, lines), sentence=f"of the form {pattern}")
        case _:
            _typed(value, bool, "true or false", path, lines)


def _bounded(number: int, low: int | None, limit: int | None, of: str, path: str, lines: dict[str, int]) -> None:
    if (low is not None and number < low) or (limit is not None and number > limit):
        told = f"{low or 0} to {limit} {of}".rstrip()
        raise PolicyError(PolicyReason.OUT_OF_BOUNDS, place=_place(path, lines), sentence=told)


def _check_table(
    value: object, fields: tuple[inspect.Field, ...], path: str, lines: dict[str, int], *, partial: bool
) -> None:
    table = cast("Tree", _typed(value, dict, "a table", path, lines))
    known = {field.name: field for field in fields}
    for key, item in table.items():
        field = known.get(key)
        if field is None:
            raise PolicyError(PolicyReason.UNKNOWN_KEY, place=_place(_join(path, key), lines), allowed=tuple(known))
        _check(item, field.type, _join(path, key), lines, partial=partial)
    for name, field in known.items():
        if not partial and field.required and name not in table:
            raise PolicyError(PolicyReason.MISSING_KEY, place=_place(_join(path, name), lines))


def _typed(value: object, kind: type, called: str, path: str, lines: dict[str, int]) -> object:
    if type(value) is not kind:
        raise PolicyError(PolicyReason.WRONG_TYPE, place=_place(path, lines), sentence=f"it must be {called}")
    return value


def _check_word(value: object, words: type[Enum], path: str, lines: dict[str, int]) -> None:
    allowed = tuple(str(member.value) for member in words)
    if not isinstance(value, str) or value not in allowed:
        raise PolicyError(PolicyReason.WRONG_WORD, place=_place(path, lines), allowed=allowed)


def _check_names(policy: Policy, lines: dict[str, int]) -> None:
    for state in policy.states.__struct_fields__:
        if getattr(policy.states, state) not in policy.rules:
            raise PolicyError(
                PolicyReason.UNKNOWN_RULE, place=_place(f"states.{state}", lines), allowed=tuple(policy.rules)
            )
    ids = [allowed.id for allowed in policy.allow]
    for index, name in enumerate(ids):
        if ids.index(name) != index:
            raise PolicyError(PolicyReason.REPEATED, place=_place(f"allow[{index}].id", lines))
    for traffic in policy.floors.__struct_fields__:
        if getattr(policy.floors, traffic) is Protection.UNKNOWN:
            known = tuple(word.value for word in Protection if word is not Protection.UNKNOWN)
            raise PolicyError(PolicyReason.WRONG_WORD, place=_place(f"floors.{traffic}", lines), allowed=known)
