"""The roots of RCS clients' certificates, from files: each refusal beside what is taken."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.wire_mls.certificate_maker import LEAF, OTHER_KEY, ROOT, Wish, authority
from tests.wire_mls.group_maker import NOW_S

from letterlock.app.mls_roots import MAX_FILE, load_roots
from letterlock.app.settings import MlsSettings, SettingsError, SettingsReason

OTHER = authority(OTHER_KEY, OTHER_KEY, "other", "other")


def pem(*wishes: Wish) -> bytes:
    return b"".join(x509.load_der_x509_certificate(one.make()).public_bytes(Encoding.PEM) for one in wishes)


def load(folder: Path, *files: bytes) -> int:
    places = [folder / f"{number}.pem" for number in range(len(files))]
    for place, data in zip(places, files, strict=True):
        place.write_bytes(data)
    return len(load_roots(MlsSettings(suites=(2,), rcc16_roots=tuple(map(str, places))), NOW_S))


def test_each_file_holds_one_root_or_several(tmp_path: Path) -> None:
    assert load(tmp_path) == 0
    assert load(tmp_path, pem(ROOT)) == 1
    assert load(tmp_path, pem(ROOT, OTHER), pem(OTHER)) == 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no certificate in PEM"),
        (ROOT.make(), "no certificate in PEM"),
        (pem(ROOT)[:-40], "no certificate in PEM"),
        (pem(ROOT) + b"#" * MAX_FILE, "no certificate in PEM"),
        (pem(LEAF), "no root of RCC.16"),
        (pem(ROOT, replace(ROOT, until=NOW_S - 1)), "no root of RCC.16"),
        (pem(replace(ROOT, by=OTHER_KEY)), "no root of RCC.16"),
    ],
    ids=["empty", "der", "cut off", "huge", "a leaf", "one has ended", "not its own signer"],
)
def test_what_is_no_root_is_refused_with_the_number_of_its_file(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, pem(ROOT), data)
    assert refused.value.reason is SettingsReason.MLS_ROOT
    assert words in refused.value.hint
    assert "file 2" in refused.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load_roots(MlsSettings(suites=(2,), rcc16_roots=(str(tmp_path / "none.pem"),)), NOW_S)
    assert refused.value.hint == "mls.rcc16_roots: file 1 cannot be read"
