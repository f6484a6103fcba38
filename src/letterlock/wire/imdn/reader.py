"""Reads a receipt's XML: no document type, no entities, no processing instructions, bounded in every direction."""

from typing import Final, NoReturn
from xml.parsers import expat

from letterlock.wire.imdn.receipts import (
    NAMESPACE,
    ClientFailure,
    Imdn,
    ImdnError,
    ImdnReason,
    ReceiptKind,
    ReceiptStatus,
    ServerFailure,
)
from letterlock.wire.rfc3339 import parse_ms

MAX_IMDN: Final = 8 * 1024
"""Bytes of a receipt; real ones have some 400."""
MAX_ELEMENTS: Final = 64
MAX_DEPTH: Final = 12
MAX_TEXT: Final = 1024
"""Characters of text in one element."""
_PREFIX: Final = NAMESPACE + " "
_CLIENT: Final = {reason.token: reason for reason in ClientFailure}
_SERVER: Final = {reason.token: reason for reason in ServerFailure}
_KINDS: Final = {kind.value: kind for kind in ReceiptKind}
_STATUSES: Final = {status.value: status for status in ReceiptStatus}


class _Element:
    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[_Element] = []


class _Tree:
    """Collects a bounded tree of elements; those of a foreign namespace are left out with all they hold."""

    def __init__(self) -> None:
        self.root: _Element | None = None
        self._open: list[_Element | None] = []
        self._count = 0

    def start(self, name: str, _attributes: object) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise ImdnError(ImdnReason.TOO_COMPLEX)
        foreign = not name.startswith(_PREFIX)
        element = None if foreign else _Element(name.removeprefix(_PREFIX))
        parent = self._open[-1] if self._open else None
        if element is not None and parent is not None:
            parent.children.append(element)
        elif not self._open:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, text: str) -> None:
        element = self._open[-1] if self._open else None
        if element is None:
            return
        if len(element.text) + len(text) > MAX_TEXT:
            raise ImdnError(ImdnReason.TOO_COMPLEX)
        element.text += text


def _refuse(*_: object) -> NoReturn:
    raise ImdnError(ImdnReason.FORBIDDEN_XML)


def _declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        _refuse()


def _read_tree(data: bytes) -> _Element:
    tree = _Tree()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.XmlDeclHandler = _declaration
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    parser.SkippedEntityHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.text
    malformed = False
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError):
        malformed = True
    if malformed:
        raise ImdnError(ImdnReason.MALFORMED_XML)
    if tree.root is None or tree.root.name != "imdn":
        raise ImdnError(ImdnReason.WRONG_ROOT)
    return tree.root


_IGNORED: Final = frozenset({"recipient-uri", "original-recipient-uri", "subject"})
"""Allowed by the schema, once each; addresses and subjects that we do not keep."""


def _children(element: _Element) -> dict[str, _Element]:
    if element.text.strip():
        raise ImdnError(ImdnReason.UNEXPECTED_TEXT)
    found = {child.name: child for child in element.children}
    if len(found) != len(element.children):
        raise ImdnError(ImdnReason.DUPLICATE_ELEMENT)
    return found


def _only(element: _Element) -> _Element:
    children = _children(element)
    if not children:
        raise ImdnError(ImdnReason.MISSING_ELEMENT)
    if len(children) > 1:
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    return element.children[0]


def _leaf_text(children: dict[str, _Element], name: str) -> str:
    element = children.pop(name, None)
    if element is None:
        raise ImdnError(ImdnReason.MISSING_ELEMENT)
    if element.children:
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    return element.text.strip()


def _failure(status: _Element) -> ClientFailure | ServerFailure | None:
    arms = _children(status)
    if not arms:
        return None
    if len(arms) > 1:
        raise ImdnError(ImdnReason.FAILURE_REASON_NOT_ALLOWED)
    arm = status.children[0]
    tokens: dict[str, ClientFailure] | dict[str, ServerFailure]
    if arm.name == "mls-client-failure-reason":
        tokens = _CLIENT
    elif arm.name == "mls-server-failure-reason":
        tokens = _SERVER
    else:
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    told = _only(arm)
    if _children(told):
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    failure = tokens.get(told.name)
    if failure is None:
        raise ImdnError(ImdnReason.UNKNOWN_FAILURE_REASON)
    return failure


def parse(data: bytes) -> Imdn:
    """Reads a receipt.

    Raises:
        ImdnError: malformed, beyond the bounds, or a receipt that RFC 5438 and RCC.16 do not know.
    """
    if len(data) > MAX_IMDN:
        raise ImdnError(ImdnReason.TOO_LARGE, size=len(data), limit=MAX_IMDN)
    children = _children(_read_tree(data))
    message_id = _leaf_text(children, "message-id")
    sent_at = parse_ms(_leaf_text(children, "datetime"))
    if sent_at is None:
        raise ImdnError(ImdnReason.BAD_DATETIME)
    rest = [element for name, element in children.items() if name not in _IGNORED]
    if not rest:
        raise ImdnError(ImdnReason.MISSING_ELEMENT)
    if len(rest) > 1 or rest[0].name not in _KINDS:
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    holder = _only(rest[0])
    if holder.name != "status":
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    told = _only(holder)
    if told.name not in _STATUSES:
        raise ImdnError(ImdnReason.UNEXPECTED_ELEMENT)
    return Imdn(message_id, sent_at, _KINDS[rest[0].name], _STATUSES[told.name], _failure(told))
