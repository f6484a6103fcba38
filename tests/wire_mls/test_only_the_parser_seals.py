"""A SealedBody is made by the strict MLS parser and by nothing else in the shipped code."""

import ast
from pathlib import Path

import letterlock

SOURCE = Path(letterlock.__file__).parent
DEFINED_IN = SOURCE / "model" / "bodies.py"
PARSER = SOURCE / "wire" / "mls"


def makers(source: str) -> list[int]:
    """Lines that name ``sealed_by_parser`` or its proof, or call SealedBody's own constructor."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case (
                ast.Name(id="sealed_by_parser" | "_PARSER_ONLY")
                | ast.Attribute(attr="sealed_by_parser" | "_PARSER_ONLY")
            ):
                found.append(node.lineno)
            case ast.alias(name="sealed_by_parser" | "_PARSER_ONLY"):
                found.append(node.lineno)
            case ast.Constant(value="sealed_by_parser" | "_PARSER_ONLY"):
                found.append(node.lineno)
            case ast.Call(func=ast.Name(id="SealedBody") | ast.Attribute(attr="SealedBody")):
                found.append(node.lineno)
    return found


def test_the_search_finds_every_way() -> None:
    for snippet in (
        "from letterlock.model.bodies import sealed_by_parser",
        "from letterlock.model.bodies import sealed_by_parser as harmless",
        "import letterlock.model.bodies as b\nb.sealed_by_parser(x)",
        "getattr(bodies, 'sealed_by_parser')(x)",
        "SealedBody(bodies._PARSER_ONLY, x)",
        "bodies.SealedBody(proof, x)",
    ):
        assert makers(snippet), snippet
    assert not makers("def f(body: SealedBody) -> bytes:\n    return body.ciphertext")


def test_only_wire_mls_makes_sealed_bodies() -> None:
    files = [path for path in SOURCE.rglob("*.py") if path != DEFINED_IN]
    offenders = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in files
        if PARSER not in path.parents
        for line in makers(path.read_text())
    }
    assert not offenders
    inside = {path.name for path in PARSER.rglob("*.py") if makers(path.read_text())}
    assert inside == {"framing.py"}
