"""OpenAPI 3.1, made from the route table: what is served is what is described."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from letterlock import __version__
from letterlock.faces.http.problems import Code
from letterlock.faces.http.routes import Access, Route

_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_PREFIXES: Final = {
    "message_id": "msg",
    "account_id": "acc",
    "device_id": "dev",
    "challenge_id": "chl",
    "consent_id": "con",
    "group": "grp",
    "key_id": "key",
    "attachment_id": "att",
}
_EVERYWHERE: Final = {413: (Code.TOO_LARGE,), 503: (Code.OVERLOADED, Code.STORE_FAILED)}
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of these routes."""
    structs = list({s: None for r in routes for s in [r.request, *r.answers.values()] if s is not None})
    _, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Letterlock",
            "version": __version__,
            "description": "A messaging gateway that knows, for every message, who can read it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    problems: dict[int, set[str]] = {status: set(codes) for status, codes in _EVERYWHERE.items()}
    if route.access is not Access.PUBLIC:
        problems.setdefault(403, set()).add(Code.SCOPE_MISSING)
    # A credential that is nobody's is refused on public routes too.
    problems.setdefault(401, set()).add(Code.UNAUTHENTICATED)
    if route.request is not None:
        problems.setdefault(400, set()).add(Code.MALFORMED_JSON)
        problems.setdefault(415, set()).add(Code.UNSUPPORTED_MEDIA_TYPE)
        problems.setdefault(422, set()).update({Code.UNKNOWN_FIELD, Code.MISSING_FIELD, Code.WRONG_TYPE})
    problems.setdefault(422, set()).add(Code.BAD_PARAMETER)
    if "{" in route.path:
        problems.setdefault(404, set()).add(Code.NOT_FOUND)
    for status, codes in route.problems.items():
        problems.setdefault(status, set()).update(codes)
    told: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "responses": {
            **{str(status): _success(route, struct) for status, struct in route.answers.items()},
            **{str(status): _problem(codes) for status, codes in sorted(problems.items())},
        },
    }
    if route.access is not Access.PUBLIC:
        told["security"] = [{"bearer": []}]
    parameters = [_path_parameter(name) for name in _PARAMETER.findall(route.path)]
    parameters += [
        {"name": p.name, "in": "query", "required": p.required, "description": p.summary, "schema": p.schema}
        for p in route.query
    ]
    if parameters:
        told["parameters"] = parameters
    if route.request is not None:
        schema = {"$ref": f"#/components/schemas/{route.request.__name__}"}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return told


def _path_parameter(name: str) -> dict[str, Any]:
    prefix = _PREFIXES.get(name)
    schema: dict[str, Any] = {"type": "string"}
    if prefix:
        schema["pattern"] = f"^{prefix}_[0-9a-f]{{32}}$"
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _success(route: Route, struct: type[msgspec.Struct] | None) -> dict[str, Any]:
    if struct is None:
        if route.media_type == "application/json":
            return {"description": "Done."}
        return {"description": "Done.", "content": {route.media_type: {"schema": {"type": "string"}}}}
    schema = {"$ref": f"#/components/schemas/{struct.__name__}"}
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _problem(codes: set[str]) -> dict[str, Any]:
    return {
        "description": "Refused: " + ", ".join(sorted(str(code) for code in codes)) + ".",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
