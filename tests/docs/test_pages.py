"""Pages lead where they say: links, named files of the code, and a whole index of decisions."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [
    *sorted(ROOT.glob("docs/**/*.md")),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
]
RECORDS: Final = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
CODE: Final = ROOT / "src/letterlock"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_of_the_code_that_a_page_names_exist(page: Path) -> None:
    for file in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text()):
        assert (ROOT / file).is_file() or (CODE / file).is_file(), file


def test_every_room_is_in_the_house_and_every_table_in_the_store() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    house = page.partition("\n## The house\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)/", house, re.MULTILINE))
    assert named == {path.parent.name for path in CODE.glob("*/__init__.py")}
    store = page.partition("\n## The store\n")[2].partition("\n## ")[0]
    tables = set(re.findall(r"`([a-z_]+)`", "".join(line for line in store.splitlines() if line.startswith("| "))))
    schema = "".join(path.read_text() for path in CODE.glob("storage/sqlite/migrations/*.sql"))
    assert tables == set(re.findall(r"CREATE TABLE (\w+)", schema))


def test_the_index_of_decisions_is_whole_and_numbers_are_given_once() -> None:
    index = (ROOT / "docs/adr/README.md").read_text()
    listed = re.findall(r"^\| \[(\d+)\]\((\S+)\) \| (.+) \|$", index, re.MULTILINE)
    assert [file for _, file, _ in listed] == [path.name for path in RECORDS]
    assert len({number for number, _, _ in listed}) == len(listed)
    for number, file, title in listed:
        assert file.startswith(f"{int(number):04d}-")
        assert (ROOT / "docs/adr" / file).read_text().startswith(f"# {number}. {title}\n")


def test_a_record_says_why_and_what_follows() -> None:
    for path in RECORDS:
        sections = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert sections[0] == "Context", path.name
        assert {"Decision", "Consequences"} <= set(sections), path.name
