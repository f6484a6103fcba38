"""docs/operations.md is true: its examples run as printed, its exit codes and keys are those of the code."""

import re
import shutil
from pathlib import Path

import pytest
from tests.docs.test_readme import Example, Shell, environment, examples, free_port, says, wait_for

from letterlock.app.commands.config import GUIDE
from letterlock.app.commands.output import Exit
from letterlock.storage.columns import FILES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


def steps() -> list[Example]:
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    return [step for section in sections for step in examples(PAGE, section)]


def test_the_examples_work_as_printed(tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("NEEDS curl AND bash: apt-get install curl")
    assert len(steps()) > 20
    ports = {"8480": free_port()}
    environment(tmp_path, ports["8480"])
    shell = Shell(tmp_path, ports)
    try:
        for step in steps():
            printed = shell.run(step.command)
            if step.listens is not None:
                shell.started()
                wait_for(ports[step.listens])
            elif not step.command.startswith("kill"):
                assert says(printed, step.expected), f"{step.command}\nprinted:\n{printed}"
    finally:
        shell.close()


def test_the_table_of_exit_codes_is_the_codes() -> None:
    section = PAGE.partition("## Exit codes")[2]
    assert re.findall(r"^\| (\d+) \|", section, re.MULTILINE) == [str(int(code)) for code in Exit]


def test_keys_and_files_that_the_page_names_exist() -> None:
    for name in re.findall(r"`((?:server|store|keystore|policy|ledger|mls|sms|log)\.[a-z_]+)`", PAGE):
        assert name in GUIDE or name in {one.name for one in FILES}, name
    for name in re.findall(r"`([a-z-]+\.(?:db|key|store|vkey|keys))`", PAGE):
        assert name in {one.name for one in FILES}, name
