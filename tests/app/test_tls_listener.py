"""The HTTP listener's own handshake: what it takes and what it refuses, tried on the wire against a gateway process."""

import asyncio
import json
import os
import ssl
import sys
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.smpp.test_link_security import Authority

REQUESTS = {
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": b"HTTP/1.1 200",
    # The hot route's lane stands behind the same handshake.
    b"POST /v1/groups/grp_00000000000000000000000000000000/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nAuthorization: Bearer nobody\r\n\r\n{}": b"HTTP/1.1 401",
}


@asynccontextmanager
async def listening(folder: Path, authority: Authority, minimum: str) -> AsyncGenerator[int]:
    settings = folder / "letterlock.toml"
    settings.write_text(
        f'[server]\nport = 0\ntls_certificate = "{authority.certificate}"\ntls_key = "{authority.key}"\n'
        + (f'tls_minimum = "{minimum}"\n' if minimum else "")
        + f"[store]\nfolder = {json.dumps(str(folder / 'store'))}\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "letterlock.app.cli", "serve", "--config", str(settings), "--announce",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
        assert url.startswith("https://")
        yield int(url.rpartition(":")[2])
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


def offering(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks this version and no other, and checks the certificate."""
    context = ssl.create_default_context(cadata=authority.pem)
    # Old versions need the library's lowest level; what is tested is that the server still says no.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


async def says(port: int, context: ssl.SSLContext | None, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("minimum", "taken", "refused"),
    [
        ("", ["TLSv1_3"], ["TLSv1_2", "TLSv1_1", "TLSv1"]),
        ("1.3", ["TLSv1_3"], ["TLSv1_2", "TLSv1_1"]),
        ("1.2", ["TLSv1_3", "TLSv1_2"], ["TLSv1_1", "TLSv1"]),
    ],
)
async def test_old_versions_get_no_handshake(
    tmp_path: Path, minimum: str, taken: list[str], refused: list[str]
) -> None:
    authority = Authority(tmp_path, "ours")
    async with listening(tmp_path, authority, minimum) as port:
        for name in taken:
            for request, answer in REQUESTS.items():
                assert (await says(port, offering(authority, ssl.TLSVersion[name]), request)).startswith(answer)
        for name in refused:
            # An alert, or an end without one: either way before a byte of HTTP.
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await says(port, offering(authority, ssl.TLSVersion[name]), next(iter(REQUESTS)))
        with pytest.raises(ssl.SSLCertVerificationError):
            await says(port, offering(Authority(tmp_path, "another"), ssl.TLSVersion.TLSv1_3), next(iter(REQUESTS)))
        plain = await asyncio.gather(says(port, None, next(iter(REQUESTS))), return_exceptions=True)
        assert plain[0] == b"" or isinstance(plain[0], ConnectionError)
