"""A sweep finds what is there, says so without repeating it, and is worth nothing without its controls."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from letterlock.lab.sweep import (
    Canary,
    Capture,
    ControlKind,
    Directory,
    Encoding,
    File,
    PlaceError,
    PlaceReason,
    ProcessMemory,
    sweep,
)
from letterlock.lab.sweep.__main__ import main
from letterlock.lab.sweep.spec import SpecError, SpecReason, parse_spec

BODY = Canary("body", "the eagle lands at dawn near the old mill")
PHONE = Canary("phone", "4915112345678", is_number=True)
CANARIES = (BODY, PHONE)


def test_a_clean_place_is_proven_clean(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing here")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    report = sweep(CANARIES, [Directory(tmp_path, "files")])
    assert report.clean
    [place] = report.places
    assert set(place.controls) == set(Encoding)
    assert place.control is ControlKind.PLANTED
    assert place.read > 0
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["deep", "er", "log"]  # the control is gone again


def test_hits_are_counted_by_place_and_encoding_and_never_repeated(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" + BODY.secret.encode() + b"y" + BODY.secret.encode())
    (tmp_path / "b").write_bytes(base64.b64encode(b"??" + BODY.secret.encode()))
    (tmp_path / f"call {PHONE.secret}.txt").write_bytes(b"z" + BODY.secret.encode("utf-16-le"))
    report = sweep(CANARIES, [Directory(tmp_path, "files"), Capture(b"fine", "stdout")])
    assert not report.clean
    assert report.proven
    assert report.places[0].hits == {
        ("body", Encoding.UTF_8): 2,
        ("body", Encoding.BASE64): 1,
        ("body", Encoding.UTF_16_LE): 1,
        ("phone", Encoding.UTF_8): 1,
    }
    assert report.places[1].hits == {}
    assert report.hits == 5
    assert report.hits_by_canary() == {"body": 4, "phone": 1}
    shown = "\n".join(report.lines()) + repr(report) + repr(CANARIES)
    assert BODY.secret not in shown
    assert PHONE.secret not in shown
    assert "CANARIES FOUND" in shown
    assert "a file whose name holds a canary" in shown


def test_an_unreadable_place_is_a_failure_not_a_clean_one(tmp_path: Path) -> None:
    class Broken(Capture):
        def streams(self) -> Iterator[tuple[str, Iterator[bytes]]]:
            yield from super().streams()
            raise PlaceError(PlaceReason.UNREADABLE)

    for place, reason in (
        (Broken(b"", "broken"), PlaceReason.UNREADABLE),
        (Directory(tmp_path / "nothing", "missing"), PlaceReason.UNREADABLE),
        (File(tmp_path / "nothing", "missing", present="anything known"), PlaceReason.MISSING),
        (ProcessMemory(os.getpid(), "self", present="anything known"), PlaceReason.OWN_PROCESS),
        (ProcessMemory(2**22 + 1, "nobody", present="anything known"), PlaceReason.MISSING),
    ):
        report = sweep(CANARIES, [place])
        assert not report.hits
        assert not report.proven
        assert not report.clean
        assert report.places[0].failure is reason
        assert "NOT PROVEN" in report.lines()[-1]


def test_a_control_that_is_not_found_fails_the_sweep(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("started gateway 0001")
    assert sweep(CANARIES, [File(file, "log", present="started gateway 0001")]).clean
    assert sweep(CANARIES, [File(file, "log", present="started gateway 0001")]).places[0].control is ControlKind.PRESENT
    assert not sweep(CANARIES, [File(file, "log", present="stopped gateway 0001")]).proven
    assert not sweep(CANARIES, [File(file, "log")]).proven
    assert not sweep(CANARIES, []).clean

    @contextmanager
    def planter(control: bytes) -> Generator[None]:
        file.write_bytes(control)
        yield

    assert sweep(CANARIES, [File(file, "log", planter=planter)]).clean

    @contextmanager
    def bad_planter(control: bytes) -> Generator[None]:
        file.write_bytes(control[: len(control) // 2])
        yield

    report = sweep(CANARIES, [File(file, "log", planter=bad_planter)])
    assert not report.proven
    assert any("control not found" in line for line in report.lines())


def test_sqlite_residue_is_found_with_defaults_and_not_with_our_settings(tmp_path: Path) -> None:
    found: dict[str, int] = {}
    for setting in ("OFF", "ON"):
        folder = tmp_path / setting
        folder.mkdir()
        connection = apsw.Connection(str(folder / "box.db"))
        for pragma in ("journal_mode=WAL", f"secure_delete={setting}"):
            list(connection.execute(f"PRAGMA {pragma}"))
        connection.execute("CREATE TABLE box (body TEXT, address INTEGER)")
        with connection:
            for n in range(300):
                connection.execute("INSERT INTO box VALUES (?, ?)", (f"{n} {BODY.secret}", int(PHONE.secret)))
        with connection:
            connection.execute("DELETE FROM box")
        before = sweep(CANARIES, [Directory(folder, "database")])
        assert before.hits > 300  # still in -wal
        list(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        report = sweep(CANARIES, [Directory(folder, "database")])
        assert report.proven
        found[setting] = report.hits
        if setting == "OFF":
            assert {encoding for _, encoding in report.places[0].hits} == {Encoding.UTF_8, Encoding.INTEGER}
        connection.close()
    assert found["ON"] == 0
    assert found["OFF"] > 300


CHILD = """
import sys
kept = [sys.stdin.buffer.readline() for _ in range(int(sys.argv[1]))]
print("ready", flush=True)
sys.stdin.buffer.readline()
"""


@contextmanager
def child(*lines: bytes) -> Generator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(len(lines))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        for line in lines:
            process.stdin.write(line + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def test_the_memory_of_a_process() -> None:
    known = "a control that the child was told"
    with child(known.encode()) as pid:
        report = sweep(CANARIES, [ProcessMemory(pid, "child", present=known)])
        assert report.clean, report.lines()
        assert not sweep(CANARIES, [ProcessMemory(pid, "child", present="never told to anybody")]).proven
    with child(known.encode(), b"noise " + BODY.secret.encode(), PHONE.secret.encode("utf-16-be")) as pid:
        report = sweep(CANARIES, [ProcessMemory(pid, "child", present=known)])
        assert report.proven
        assert report.hits_by_canary().keys() == {"body", "phone"}


def specification(folder: Path, **places: object) -> bytes:
    return json.dumps(
        {
            "canaries": [
                {"kind": "text", "label": "body", "text": BODY.secret},
                {"kind": "number", "label": "phone", "digits": PHONE.secret},
            ],
            "places": [{"kind": "directory", "name": "files", "path": str(folder), **places}],
        }
    ).encode()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, spec = tmp_path / "files", tmp_path / "spec.json"
    folder.mkdir()
    spec.write_bytes(specification(folder))
    assert main(["--spec", str(spec)]) == 0
    assert capsys.readouterr().out.endswith("clean\n")
    (folder / "leak").write_text(BODY.secret)
    assert main(["--spec", str(spec)]) == 1
    told = capsys.readouterr()
    assert "body as utf-8: 1 times" in told.out
    assert BODY.secret not in told.out + told.err
    (folder / "leak").unlink()
    spec.write_bytes(specification(folder, present="not to be found here"))
    assert main(["--spec", str(spec)]) == 2
    assert main(["--spec", str(tmp_path / "none")]) == 2
    spec.write_bytes(b'{"canaries": "' + BODY.secret.encode() + b'"}')
    assert main(["--spec", str(spec)]) == 2
    told = capsys.readouterr()
    assert BODY.secret not in told.out + told.err


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "letterlock.lab.sweep", "--spec", "-"],
        input=specification(tmp_path),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"clean\n")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", SpecReason.MALFORMED),
        (b"{}", SpecReason.MALFORMED),
        (b'{"canaries": [], "places": []}', SpecReason.EMPTY),
        (b'{"canaries": [], "places": [], "extra": 1}', SpecReason.MALFORMED),
        (b'{"canaries": [], "places": [{"kind": "planet", "name": "x"}]}', SpecReason.MALFORMED),
        (b" " * (4 * 1024 * 1024 + 1), SpecReason.TOO_LARGE),
    ],
)
def test_bad_specifications_are_refused(raw: bytes, reason: SpecReason) -> None:
    with pytest.RaisesExc(SpecError, check=lambda error: error.reason is reason):
        parse_spec(raw)
    assert len(parse_spec(specification(Path("/tmp")))[0]) == 2
