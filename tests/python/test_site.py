"""What the site is made of: its reference is complete, and its links are followed."""

import importlib.util
import re
from pathlib import Path

import scmvp

ROOT = Path(__file__).parents[2]


def site_links():
    spec = importlib.util.spec_from_file_location("site_links", ROOT / "tools" / "site_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_a_page():
    listed = set(re.findall(r"(?m)^   (\w+)$", (ROOT / "docs" / "api.md").read_text()))
    assert listed == set(scmvp.__all__) - {"__version__"}


def test_every_notebook_is_in_the_guides():
    guides = (ROOT / "docs" / "guides.md").read_text()
    notebooks = {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.md")}
    assert set(re.findall(r"(?m)^notebooks/(\w+)$", guides)) == notebooks


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">x</h1><a href="deep/"></a>')
    deep = tmp_path / "deep" / "index.html"
    deep.write_text(
        '<a href="../index.html#top"></a><a href="https://elsewhere.org"></a><a href="#none"></a>'
        '<a href="../index.html#bottom"></a><img src="lost.png"><a href="../../outside.html"></a>'
    )
    (tmp_path.parent / "outside.html").touch()
    assert site_links().broken(tmp_path) == [
        "deep/index.html: #none: no such place",
        "deep/index.html: ../../outside.html: outside the site",
        "deep/index.html: ../index.html#bottom: no such place",
        "deep/index.html: lost.png: no such file",
    ]
