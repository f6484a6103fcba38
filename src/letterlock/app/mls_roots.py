"""The roots of RCS clients' certificates (GSMA RCC.16), from the files that the settings name."""

from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from letterlock.app.settings import MlsSettings, SettingsError, SettingsReason
from letterlock.wire.mls.group import CredentialError, Root

MAX_FILE: Final = 256 * 1024
"""Bytes of one file: some hundred certificates."""


def load_roots(settings: MlsSettings, now_s: int) -> tuple[Root, ...]:
    """Reads them; each file holds one root or several.

    Args:
        settings: which files.
        now_s: seconds since 1970 UTC; a root that has ended is none.

    Raises:
        SettingsError: a file cannot be read, holds no certificate, or one that is no root of the profile.
    """
    return tuple(
        root for number, place in enumerate(settings.rcc16_roots, 1) for root in _of(Path(place), number, now_s)
    )


def _of(place: Path, number: int, now_s: int) -> list[Root]:
    where = f"mls.rcc16_roots: file {number}"
    try:
        with place.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError:
        raise SettingsError(SettingsReason.MLS_ROOT, f"{where} cannot be read") from None
    try:
        found = x509.load_pem_x509_certificates(data if len(data) <= MAX_FILE else b"")
    except ValueError:
        raise SettingsError(SettingsReason.MLS_ROOT, f"{where} holds no certificate in PEM") from None
    try:
        return [Root.of(one.public_bytes(Encoding.DER), now_s) for one in found]
    except CredentialError as error:
        hint = f"{where} holds one that is no root of RCC.16: {error.reason.text}"
        raise SettingsError(SettingsReason.MLS_ROOT, hint) from None
