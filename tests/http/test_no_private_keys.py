"""A client's private key has no way into the gateway: no request, no setting and no command takes one (S26)."""

import inspect
import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.http.served import Served, served
from tests.http.test_http_refusals import filled, is_problem, somebody

from letterlock.app.cli import app
from letterlock.app.keys import open_keys
from letterlock.app.settings import Settings, Store, from_tree
from letterlock.custody.keystore import KeyPurpose, KeyStore
from letterlock.faces.http.problems import field_names
from letterlock.model.errors import LetterlockError
from letterlock.wire.preimage import KeyFamily

KEY = Ed25519PrivateKey.generate()
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
SEED = KEY.private_bytes_raw()
NAMES = (
    "private_key", "secret_key", "identity_private_key", "signature_private_key", "init_private_key", "leaf_secret",
    "seed", "mls_state", "group_secrets", "epoch_secret", "key_import", "jwk", "pem", "d",
)  # fmt: skip
OFFERED: tuple[Any, ...] = (PEM, b64encode(SEED).decode(), SEED.hex(), {"kty": "OKP", "d": b64encode(SEED).decode()})


@pytest.fixture
async def here(tmp_path: Path) -> AsyncGenerator[Served]:
    async with served(tmp_path) as made:
        yield made


def sample(kind: msgspec.inspect.Type) -> Any:
    """A value of the right type for a field, so that what is refused is the key and not the rest."""
    of = msgspec.inspect
    match kind:
        case of.StructType():
            return {f.encode_name: sample(f.type) for f in kind.fields if f.required}
        case of.ListType() | of.VarTupleType() | of.SetType():
            return [sample(kind.item_type)]
        case of.StrType():
            return "x"
        case of.BytesType():
            return b64encode(b"x" * 33).decode()
        case of.IntType() | of.FloatType():
            return 1
        case of.BoolType():
            return True
        case of.EnumType():
            return next(iter(kind.cls)).value
        case of.LiteralType():
            return kind.values[0]
        case of.UnionType():
            return sample(next(one for one in kind.types if not isinstance(one, of.NoneType)))
        case of.DictType():
            return {}
    raise AssertionError(kind)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every object in a request, however deep."""
    found = [at] if isinstance(value, dict) else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*found, *(place for key, inner in items for place in places(inner, (*at, key)))]


def with_key(request: Any, place: tuple[Any, ...], name: str, value: Any) -> bytes:
    copy = json.loads(json.dumps(request))
    target = copy
    for step in place:
        target = target[step]
    target[name] = value
    return json.dumps(copy).encode()


async def test_no_request_has_a_place_for_one(here: Served) -> None:
    tried = 0
    with structlog.testing.capture_logs() as logs:
        for route in here.gateway.face.routes:
            if route.request is None:
                continue
            assert not field_names(route.request) & set(NAMES), route.operation
            request = sample(msgspec.inspect.type_info(route.request))
            headers = {**here.as_(somebody(route)), "content-type": "application/json"}
            for place in places(request):
                for name in NAMES:
                    for value in OFFERED:
                        answer = await here.client.request(
                            route.method, filled(route), headers=headers, content=with_key(request, place, name, value)
                        )
                        told = is_problem(answer, 422, "unknown_field", "wrong_type", "missing_field")
                        assert "PRIVATE" not in answer.text
                        tried += told["code"] == "unknown_field"
    assert tried > 300
    for secret in (PEM.splitlines()[1], b64encode(SEED).decode(), SEED.hex()):
        assert secret not in str(logs)


def test_no_setting_takes_one() -> None:
    for place in ("server", "store", "mls", "ledger", "keys", "policy"):
        for name in NAMES:
            with pytest.raises(LetterlockError):
                from_tree({place: {name: PEM}})


def test_no_command_takes_one() -> None:
    def commands(group: Any, path: str = "") -> list[tuple[str, Any]]:
        inner = getattr(group, "commands", {})
        return [(path, group), *(one for name, sub in inner.items() for one in commands(sub, f"{path} {name}"))]

    known = commands(typer.main.get_command(app))
    assert len(known) > 20
    for path, command in known:
        words = {option.strip("-").replace("-", "_") for one in command.params for option in one.opts}
        assert not words & set(NAMES), path
        assert "import" not in path.split(), path


def test_no_key_of_a_started_gateway_is_an_endpoints(tmp_path: Path) -> None:
    """What it holds are keys of its own, and its key store takes none that was made elsewhere."""
    keys = open_keys(Settings(store=Store(folder=str(tmp_path))), tmp_path)
    try:
        keys.derive(b"a use")
        held = {key.purpose for key in keys.keystore._keys.values()}
        assert held
        assert held <= set(KeyPurpose)
        endpoints = {KeyFamily.IDENTITY.value, KeyFamily.ENVELOPE.value, KeyFamily.SESSION.value}
        assert not {purpose.value for purpose in KeyPurpose} & endpoints
        for name in (name for name in dir(KeyStore) if not name.startswith("_")):
            words = set(inspect.signature(getattr(KeyStore, name)).parameters) if name != "capabilities" else set()
            assert not words & {"private", "private_key", "secret", "seed", "material"}, name
    finally:
        keys.close()
