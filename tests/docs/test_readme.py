"""The README's first steps work as printed: the commands in one shell, their output held against the page.

Only two things are exchanged: the port numbers, for free ones, and the folder of the environment.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text()
MARK: Final = "@@done@@"
START_S: Final = 60


@dataclass(slots=True)
class Example:
    """A command as printed, and what the page says that it prints."""

    command: str
    expected: list[str] = field(default_factory=list)

    @property
    def listens(self) -> str | None:
        """Which port, if any, this command opens in the background."""
        if not self.command.endswith("&"):
            return None
        return "2775" if "lab.smsc" in self.command else "8480"


def examples(page: str, section: str) -> list[Example]:
    """The commands of a section's console blocks, in order."""
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found: list[Example] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Example(line[2:]))
            elif line.startswith("> "):
                found[-1].command += "\n" + line[2:]
            else:
                found[-1].expected.append(line)
    return found


def says(printed: str, expected: list[str]) -> bool:
    """Whether the output is what the page shows, where `...` stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in "\n".join(expected).split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def test_an_output_that_differs_is_noticed() -> None:
    assert says('{"a":1,"b":2}\n', ['{"a":1,...}'])
    assert says("one\ntwo\nthree", ["one", "..."])
    assert says("", [])
    assert not says('{"a":2,"b":2}', ['{"a":1,...}'])
    assert not says("one", [])
    (first, second) = examples(
        "\n## X\n```console\n$ a <<'E'\n> b\n> E\nc\n$ d &\n```\n## Y\n```console\n$ e\n```\n", "X"
    )
    assert (first.command, first.expected) == ("a <<'E'\nb\nE", ["c"])
    assert (second.command, second.expected, second.listens) == ("d &", [], "8480")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, "nothing listens"
            time.sleep(0.05)
        else:
            return


def blocks(page: str, section: str) -> list[list[str]]:
    """The lines of a section's console blocks."""
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


class Shell:
    """A bash that takes one command after the other, as somebody's terminal."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self._ports = ports
        self._background: list[int] = []
        self._shell = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.run("set -m")

    def run(self, command: str) -> str:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        for printed, port in self._ports.items():
            command = command.replace(printed, str(port))
        self._shell.stdin.write(f"{command}\necho; echo {MARK}\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line.strip() == MARK:
                break
            lines.append(line)
        return "".join(lines)

    def type(self, line: str) -> None:
        """Types a line, and waits for nothing."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(line + "\n")
        self._shell.stdin.flush()

    def line(self) -> str:
        """The next line of output."""
        assert self._shell.stdout is not None
        return self._shell.stdout.readline().rstrip("\n")

    def started(self) -> None:
        """Remembers what the last command left in the background."""
        self._background.append(int(self.run("echo $!")))

    def close(self) -> None:
        for process in self._background:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        try:
            self._shell.wait(30)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()
        assert self._shell.stdout is not None
        self._shell.stdout.close()


def environment(folder: Path, port: int) -> None:
    """What `make env` leaves, as two launchers; without a settings file the gateway takes the free port."""
    commands = folder / ".venv/bin"
    commands.mkdir(parents=True)
    (folder / "port.toml").write_text(f"[server]\nport = {port}\n")
    start = f'#!/bin/bash\nexport PYTHONPATH="{os.pathsep.join(sys.path)}"\n'
    (commands / "python").write_text(f'{start}exec "{sys.executable}" "$@"\n')
    (commands / "letterlock").write_text(
        f'{start}if [ "$*" = serve ]; then set -- serve --config port.toml; fi\n'
        f'if [ "$1" = chat ]; then set -- "$@" --gateway http://127.0.0.1:{port}; fi\n'
        f"if [ -f letterlock.toml ] && ! grep -q server letterlock.toml; then cat port.toml >> letterlock.toml; fi\n"
        f'exec "{sys.executable}" -m letterlock.app.cli "$@"\n'
    )
    for command in commands.iterdir():
        command.chmod(0o755)


def test_the_first_steps_work_as_printed(tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("NEEDS curl AND bash: apt-get install curl")
    steps = examples(README, "First steps")
    assert len(steps) > 15
    ports = {"8480": free_port(), "2775": free_port()}
    environment(tmp_path, ports["8480"])
    shell = Shell(tmp_path, ports)
    try:
        for step in steps:
            printed = shell.run(step.command)
            if step.listens is not None:
                shell.started()
                wait_for(ports[step.listens])
            elif not step.command.startswith("kill"):
                assert says(printed, step.expected), f"{step.command}\nprinted:\n{printed}"
    finally:
        shell.close()


def test_two_shells_talk_as_printed(tmp_path: Path) -> None:
    """Each line of output has to be the next one, in both shells; `kill` and what starts in the background aside."""
    bobs, alices, bobs_again = blocks(README, "Talk between two shells")
    port = free_port()
    environment(tmp_path, port)
    first, second = Shell(tmp_path, {}), Shell(tmp_path, {})
    numbers: list[list[str]] = []
    try:
        for shell, block in ((first, bobs), (second, alices), (first, bobs_again)):
            printed = [play(shell, line, port) for line in block]
            numbers.append([line for line in printed if re.fullmatch(r"  \d{5}( \d{5}){5}", line)])
        second.type("/safety")
        while "Fingerprint" not in (line := second.line()):
            numbers[1].append(line)
        second.type("/quit")
        assert len(numbers[2]) == 4
        assert numbers[1][-2:] == numbers[2][:2], "both shells show one safety number"
    finally:
        first.close()
        second.close()


def play(shell: Shell, line: str, port: int) -> str:
    """One line of a block: typed, or held against the next line of output, which is returned."""
    if line.startswith("> "):
        shell.type(line[2:])
    elif line.startswith("$ ") and line.endswith("&"):
        shell.run(line[2:])
        shell.started()
        wait_for(port)
    elif line.startswith("$ kill"):
        shell.run(line[2:])
    elif line.startswith("$ "):
        shell.type(line[2:])
    else:
        printed = shell.line()
        assert says(printed, [line.strip()]), f"{line}\nprinted:\n{printed}"
        return printed
    return ""
