"""TLS to the centre, what hostile octets do to it, and that nothing shows content, numbers or passwords."""

import asyncio
import contextlib
import datetime
import gc
import ipaddress
import logging
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.smpp.support import ACCOUNTS, PASSWORD, Notebook, client_of, config, new_ref, screen, send, until

from letterlock.lab.smsc import Fault, FaultKind, LabSmsc
from letterlock.model.bodies import OpenBody
from letterlock.transports.smpp import LinkFault, SubmitError
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.session import Timers
from letterlock.wire.sms.smpp import decode

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority of our own, with one certificate for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        root = (
            self._certificate(self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        own = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._certificate(x509.Name([]), own.public_key())
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True
            )
            .sign(key, hashes.SHA256())
        )
        self.pem = root.public_bytes(serialization.Encoding.PEM).decode()
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.pem)


async def test_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    async with LabSmsc(ACCOUNTS, tls=ours.server_context()) as smsc:
        async with client_of(config(smsc.port, tls=ours.client_context()), Notebook()) as client:
            assert await client.wait_bound(10)
            await send(client, "over TLS")
            assert screen(smsc) == ["over TLS"]
        for stranger in (other.client_context(), ssl.create_default_context()):
            async with client_of(config(smsc.port, tls=stranger), Notebook()) as client:
                await until(lambda client=client: client.fault is LinkFault.TLS_REFUSED)  # type: ignore[misc]
                with pytest.raises(SubmitError):
                    await send(client, "to a stranger")
        async with client_of(config(smsc.port, timers=Timers(bind_ms=200)), Notebook()) as client:
            assert not await client.wait_bound(0.5)  # no TLS where TLS is spoken
        assert screen(smsc) == ["over TLS"]


async def test_tls_is_not_given_up_for_a_plain_centre(tmp_path: Path) -> None:
    async with LabSmsc(ACCOUNTS, timers=Timers(bind_ms=200)) as smsc:
        tls = Authority(tmp_path, "ours").client_context()
        async with client_of(config(smsc.port, tls=tls), Notebook()) as client:
            await until(lambda: client.fault is not None)
            assert client.fault in {LinkFault.TLS_REFUSED, LinkFault.UNREACHABLE}
        assert smsc.submits == 0


async def raw_exchange(port: int, octets: bytes, wanted: int) -> list[int]:
    """Sends octets, and collects the statuses of the answers until the wanted one or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if octets.startswith(BIND) and wanted != 0x05:  # messages have to wait for the answer to the bind
        writer.write(BIND)
        head = await reader.readexactly(16)
        assert decode(head + await reader.readexactly(int.from_bytes(head[:4], "big") - 16)).status == 0
        octets = octets.removeprefix(BIND)
    writer.write(octets)
    statuses: list[int] = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        async with asyncio.timeout(10):
            while wanted not in statuses:
                head = await reader.readexactly(16)
                rest = await reader.readexactly(int.from_bytes(head[:4], "big") - 16)
                statuses.append(decode(head + rest).status)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return statuses


def framed(command: int, body: bytes, sequence: int = 1) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, 0, sequence) + body


BIND = framed(9, f"letter\0{PASSWORD}\0\0\x34\0\0\0".encode())


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (framed(9, b"letter\0wrong\0\0\x34\0\0\0"), 0x0E),
        (framed(9, b"nobody\0wrong\0\0\x34\0\0\0"), 0x0F),
        (framed(9, b"letter\0" + b"x" * 9 + b"\0\0\x34\0\0\0"), 0xC2),
        (framed(4, b"\0" * 17), 0x04),
        (struct.pack(">IIII", 65_537, 4, 0, 1), 0x02),
        (framed(0x99, b""), 0x03),
        (BIND + framed(4, b"\0\1\1" + b"49170\x0012" + b"\0" * 14, 2), 0x50),
        (BIND + framed(4, b"\0\0\0\0\1\x01491701234567\0" + b"\0" * 10 + b"\x14\0\0\xffa", 2), 0xC0),
        (BIND + framed(4, b"\0\0\0\0\1\x0112\0" + b"\0" * 10, 2), 0x0B),
        (BIND + framed(4, b"\0\0\0\0\1\x01491701234567\0\x40" + b"\0" * 8 + b"\3\2\0\3", 2), 0x43),
        (BIND + BIND[:15] + b"\2" + BIND[16:], 0x05),
    ],
)
async def test_the_centre_refuses_and_goes_on(octets: bytes, status: int) -> None:
    async with LabSmsc(ACCOUNTS) as smsc:
        assert (await raw_exchange(smsc.port, octets, status))[-1] == status
        async with client_of(config(smsc.port), Notebook()) as client:
            assert await client.wait_bound(10)
            await send(client, "still there")
        assert screen(smsc) == ["still there"]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.attack("A24")
async def test_no_log_error_or_repr_shows_content_numbers_or_passwords(
    everything_logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    canary, number = "CNRY4f1e" * 30, PhoneNumber.parse("+491709876543")
    asyncio.get_running_loop().set_debug(True)
    collected: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: collected.append(context))
    notebook = Notebook()
    notebook.fail_inbound = 1
    async with LabSmsc(ACCOUNTS) as smsc:
        smsc.behaviour.retry_ms = 5
        settings = config(smsc.port, timers=Timers(window=2, response_ms=100), patience_ms=0)
        async with client_of(settings, notebook) as client:
            assert await client.wait_bound(10)
            for kind in FaultKind:
                smsc.fail(Fault(kind))
                with pytest.raises(SubmitError) as caught:
                    await client.submit(number, "Letterlock", OpenBody(canary.encode()), message_ref=new_ref())
                error: BaseException | None = caught.value
                while error is not None:
                    collected += (error, error.args, vars(error))
                    error = error.__cause__ or error.__context__
                assert await client.wait_bound(10)
            await client.submit(number, "Letterlock", OpenBody(canary.encode()), message_ref=new_ref())
            for text, sender in (
                (canary * 20, "Letterlock"),
                (canary + "\ud800", "Letterlock"),
                (canary, "CNRY4f1e\0"),
            ):
                body = OpenBody(text.encode("utf-8", "surrogatepass"))
                with pytest.raises(SubmitError) as caught:
                    await client.submit(number, sender, body, message_ref=new_ref())
                error = caught.value
                while error is not None:
                    collected += (error, error.args, vars(error))
                    error = error.__cause__ or error.__context__
            smsc.send_from(number, "22122", OpenBody(canary.encode()))
            await until(lambda: bool(notebook.texts()))
            collected += (client, vars(client), settings, smsc.phone(number), notebook.inbound, notebook.receipts)
            collected += [task for task in asyncio.all_tasks()]  # noqa: C416
            collected += smsc.phone(number).inbox
            assert smsc.phone(number).inbox[-1].read() == canary
    gc.collect()
    logging.getLogger("control").debug("planted PLANTED")
    out, err = capfd.readouterr()
    seen = "\n".join((everything_logged.text, out, err, *(f"{thing!r}" for thing in collected)))
    assert "PLANTED" in seen
    for secret in ("CNRY4f1e", number.digits(), number.digits()[2:], PASSWORD):
        assert secret not in seen
