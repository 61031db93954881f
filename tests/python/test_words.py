"""Numbers in messages agree with their nouns and verbs, by the one helper that does it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import scmvp
from scmvp.words import count_of

# What messages count. A placeholder before such a plural has to be `count_of`.
NOUNS = (
    "cells genes peaks features labels values groups columns levels files names processes "
    "dimensions numbers clusters epochs types branches parts layers batches rows entries versions "
    "modalities bytes samples"
).split()
# Texts and not numbers.
TEXT = re.compile(
    r"\{(?:what|path|out|name|argument|verb|\w+[.]name|FEATURE_WORD\[modality\]|"
    r"state\['cells_per_second'\]:)\}"
)


@pytest.mark.parametrize(
    ("n", "cells", "have", "branches"),
    [
        (0, "0 cells", "0 cells have", "0 branches"),
        (1, "1 cell", "1 cell has", "1 branch"),
        (2, "2 cells", "2 cells have", "2 branches"),
        (1234, "1,234 cells", "1,234 cells have", "1,234 branches"),
    ],
)
def test_number_noun_and_verb_agree(n, cells, have, branches):
    assert count_of(n, "cell") == cells
    assert count_of(n, "cell", "has", "have") == have
    assert count_of(n, "branch") == branches
    assert count_of(n, "epoch") == cells.replace("cell", "epoch")
    assert count_of(n, "shared cell") == cells.replace("cell", "shared cell")


@pytest.mark.slow
def test_no_message_counts_without_the_helper():
    found = []
    for path in sorted(Path(scmvp.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found += [f"{path.name}:{node.lineno}: {odd}" for odd in _uncounted(node)]
    assert not found, "\n".join(found)


def _uncounted(node: ast.JoinedStr) -> list[str]:
    text = "".join(
        f"{{{ast.unparse(part.value)}{':' if part.format_spec else ''}}}"
        if isinstance(part, ast.FormattedValue)
        else part.value
        for part in node.values
    )
    # few words between; "{n} {word}s" is a plural, too
    nouns = "|".join([*NOUNS, r"\{[^{}]*\}s"])
    before = rf"\{{[^{{}}]*\}} (?:(?:of )?(?:the )?[a-z]+ )?(?:{nouns})\b"
    found = re.findall(before, text)
    return [odd for odd in found if "count_of(" not in odd and not TEXT.match(odd)]


def test_the_search_sees_what_it_must_not_find():
    def uncounted(code: str) -> list[str]:
        return _uncounted(ast.parse(code).body[0].value)

    assert uncounted('f"{n} cells have none"')
    assert uncounted('f"{n:,} {noun}s"')
    assert uncounted('f"{a} of the {n} remaining cells"')
    assert not uncounted('f"{count_of(n, word)} of {where}"')
