"""Every message that the package can raise, warn of or print, as a template, from its source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import scmvp

PACKAGE = Path(scmvp.__file__).parent
# Modules whose texts are markup.
MARKUP = {"figures", "page"}
# Functions whose first argument is a message.
_TAKE = {
    "InputError", "ModelFileError", "NotByRows", "NothingToTest", "_Obstacle", "RError",
    "ImportError", "OSError", "ArgumentTypeError", "warn", "note", "refuse", "_fail", "say", "show",
    "append", "_say_once",
}  # fmt: skip
# Functions that make messages, or ends of them.
_MAKE = {"_describe_bad", "remedy", "_how_to_take", "describe_account", "describe_filter"}


@dataclass(frozen=True)
class Message:
    """One template: its module, its text with code in braces, and a pattern of what is said."""

    module: str
    text: str
    pattern: str


@cache
def messages() -> list[Message]:
    """All of them, each once."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.stem in MARKUP:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for part in _arguments(node):
                for text in _templates(part):
                    plain, pattern = _of(text)
                    if len(re.findall("[a-z]+", re.sub(r"\{.*?\}", "", plain))) > 1:
                        found[path.stem, plain] = Message(path.stem, plain, pattern)
    return list(found.values())


def _arguments(node: ast.AST) -> list[ast.expr | None]:
    if isinstance(node, ast.Call) and node.args:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return node.args[:1] if name in _TAKE else []
    if isinstance(node, ast.FunctionDef) and node.name in _MAKE:
        kinds = ast.Return | ast.Assign
        return [part.value for part in ast.walk(node) if isinstance(part, kinds)]
    return []


def _templates(node: ast.AST | None) -> list[ast.Constant | ast.JoinedStr]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node]
    if isinstance(node, ast.JoinedStr):
        return [node]
    sides = []
    if isinstance(node, ast.IfExp):
        sides = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        sides = node.values
    return [text for side in sides for text in _templates(side)]


def _of(node: ast.Constant | ast.JoinedStr) -> tuple[str, str]:
    parts = [node] if isinstance(node, ast.Constant) else node.values
    plain, pattern = "", ""
    for part in parts:
        fixed = isinstance(part, ast.Constant)
        plain += part.value if fixed else f"{{{ast.unparse(part.value)}}}"
        pattern += re.escape(part.value) if fixed else "(?s:.*?)"
    return plain, pattern


def texts(path: Path) -> list[str]:
    """All texts of a module that are not docstrings, and may be parts of messages."""
    if path.stem in MARKUP:
        return []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values}
            found.append(_of(node)[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in silent:
                found.append(node.value)
    return [text for text in found if len(text.split()) > 1]
