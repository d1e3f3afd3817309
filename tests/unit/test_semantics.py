"""docs/semantics.md names tests and modules for each rule: they exist, under the names it gives.

docs/semantics.md --rows--> rule, modules, tests            file, name --> a function of that file
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "semantics.md"
SECTIONS = [f"1.{number}" for number in range(1, 18)]
EXCEPTIONS = "What does not hold everywhere"


class Row(NamedTuple):
    """A line of one of the page's tables."""

    section: str
    cells: tuple[str, str, str]

    @property
    def tests(self) -> tuple[tuple[str, str], ...]:
        """File and function of each test; those without a file are of the file before."""
        return tuple(_tests(self.cells[2]))


def _tests(cell: str) -> Iterator[tuple[str, str]]:
    path = ""
    for quoted in re.findall(r"`(tests/[^`]+|test_\w+)`", cell):
        if "::" in quoted:
            path = quoted.partition("::")[0]
        yield path, quoted.rpartition("::")[2]


@cache
def rows() -> tuple[Row, ...]:
    """Read the page."""
    found = []
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        section, _, body = part.partition("\n")
        lines = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", body, re.MULTILINE)
        found += [Row(section, cells) for cells in lines if cells[0] != "rule"]
    return tuple(found)


@cache
def functions(path: str) -> frozenset[str]:
    """Return the test functions of a file, and those of its classes."""
    tree = ast.parse((REPOSITORY / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rules() -> list[Row]:
    return [row for row in rows() if row.section != EXCEPTIONS]


def test_every_section_has_rules() -> None:
    told = {row.section for row in rules()}
    whole = [number for section in told for number in _numbers(section)]
    assert sorted(whole) == sorted(SECTIONS)


def _numbers(section: str) -> list[str]:
    """Return the numbers of a heading: ``1.5 What...``, or ``1.12 to 1.14 What...``."""
    first, *more = (int(number) for number in re.findall(r"1\.(\d+)", section))
    return [f"1.{number}" for number in range(first, (more or [first])[0] + 1)]


@pytest.mark.parametrize("row", rules(), ids=lambda row: f"{row.section.split()[0]} {row.cells[0][:40]}")
def test_every_rule_names_a_module_and_tests_that_exist(row: Row) -> None:
    assert row.tests
    assert [(path, name) for path, name in row.tests if name not in functions(path)] == []
    modules = re.findall(r"`([^`]+)`", row.cells[1])
    assert modules
    roots = (REPOSITORY / "ebpflb", REPOSITORY)
    assert [module for module in modules if not any((root / module).is_file() for root in roots)] == []


def test_every_test_that_shows_an_exception_exists() -> None:
    exceptions = [row for row in rows() if row.section == EXCEPTIONS]
    assert len(exceptions) > len(SECTIONS) // 2
    named = [each for row in exceptions for each in row.tests]
    assert [(path, name) for path, name in named if name not in functions(path)] == []


def test_no_test_is_named_outside_the_tables_that_is_not_there() -> None:
    everywhere = re.findall(r"`(tests/[^`:]+)::(\w+)`", PAGE.read_text())
    assert [(path, name) for path, name in everywhere if name not in functions(path)] == []
