"""Recipes under packaging/: one version, and the requirements that the packages declare."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import scmvp

tomllib = pytest.importorskip("tomllib", reason="of Python 3.11 and later")
yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "packaging"
BASE_R = {"methods", "parallel", "stats", "utils"}  # they come with R


def text(*path: str) -> str:
    return ROOT.joinpath(*path).read_text()


def loaded(*path: str):
    return yaml.safe_load(RECIPES.joinpath(*path).read_text())


def description() -> dict[str, str]:
    """Fields of DESCRIPTION, each on one line."""
    unfolded = re.sub(r"\n\s+", " ", text("DESCRIPTION"))
    return dict(line.split(":", 1) for line in unfolded.splitlines())


def of_description(field: str) -> set[tuple[str, str]]:
    """What a field of DESCRIPTION requires: (package, version), '' for any."""
    entries = [re.sub(r"[()]", "", entry).split() for entry in description()[field].split(",")]
    return {(name, "".join(version)) for name, *version in entries}


def of_conda(requirements: list[str]) -> set[tuple[str, str]]:
    """The same of a list of conda."""
    return {(name, "".join(version)) for name, *version in map(str.split, requirements)}


def test_the_version_is_one():
    galaxy = ElementTree.parse(RECIPES / "galaxy" / "scmvp_fit.xml").getroot()
    tokens = {token.get("name"): token.text for token in galaxy.iter("token")}
    (bioconda,) = loaded("nf-core", "scmvp", "fit", "environment.yml")["dependencies"]
    process = text("packaging", "nf-core", "scmvp", "fit", "main.nf")
    versions = {
        "DESCRIPTION": description()["Version"].strip(),
        "conda scmvp": loaded("conda", "scmvp", "recipe.yaml")["context"]["version"],
        "conda r-scmvp": loaded("conda", "r-scmvp", "recipe.yaml")["context"]["version"],
        "docker": re.search(r"ARG VERSION=(.+)", text("packaging", "docker", "Dockerfile"))[1],
        "galaxy": tokens["@TOOL_VERSION@"],
        "nf-core": bioconda.removeprefix("bioconda::scmvp="),
        "containers of nf-core": re.findall(r"scmvp:([\d.]+)--", process),
        "NEWS": re.findall(r"(?m)^# scMVP ([\d.]+)$", text("NEWS.md"))[0],
    }
    version = scmvp.__version__
    both = versions.pop("containers of nf-core")
    assert both == [version, version]
    assert versions == dict.fromkeys(versions, version)


def test_conda_requires_what_the_python_package_does():
    project = tomllib.loads(text("python", "pyproject.toml"))["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["fast"]
    expected = {tuple(re.split(r"(?=>=)", requirement)) for requirement in declared}
    expected |= {("python", project["requires-python"])}
    expected = {("pytorch" if name == "torch" else name, version) for name, version in expected}
    recipe = loaded("conda", "scmvp", "recipe.yaml")
    assert of_conda(recipe["requirements"]["run"]) == expected
    ((name, place),) = project["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [f"{name} = {place}"]


def test_conda_requires_what_the_r_package_does():
    expected = {
        ("r-base" if name == "R" else f"r-{name.lower()}", version)
        for name, version in of_description("Depends") | of_description("Imports")
        if name not in BASE_R
    }
    requirements = loaded("conda", "r-scmvp", "recipe.yaml")["requirements"]
    assert of_conda(requirements["host"]) == expected
    core = {("scmvp", "==${{version}}")}
    assert of_conda(requirements["run"]) == expected | core


def test_the_image_has_what_the_packages_require():
    image = text("packaging", "docker", "Dockerfile")
    missing = [
        name
        for name, _ in of_description("Imports")
        if name not in BASE_R and f"r-cran-{name.lower()}" not in image
    ]
    assert missing == []
    pinned = re.search(r"(?m)^torch_version=(.+)$", text("tools", "torch.sh"))[1]
    assert set(re.findall(r"torch==([\d.]+)", image)) == {pinned}


def test_galaxy_gives_flags_that_the_command_line_has(capsys):
    from scmvp.cli import main

    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    usage = capsys.readouterr().out
    command = text("packaging", "galaxy", "scmvp_fit.xml").split("CDATA[")[1].split("]]")[0]
    flags = set(re.findall(r"(?<=\s)--[a-z-]+", command))
    assert len(flags) > 5 and [flag for flag in flags if flag not in usage] == []


@pytest.mark.slow
def test_the_cells_of_galaxy_are_fitted_as_its_test_expects(tmp_path):
    from scmvp.cli import main

    cells = RECIPES / "galaxy" / "test-data" / "cells.h5ad"
    out = tmp_path / "result"
    limits = ["--n-clusters", "3", "--max-epochs", "2", "--quiet"]
    assert main(["fit", str(cells), "--out", str(out), *limits]) == 0
    expected = ElementTree.parse(RECIPES / "galaxy" / "scmvp_fit.xml").getroot().find("tests/test")
    for output in expected.iter("output"):
        lines = (out / f"{output.get('name')}.csv").read_text().splitlines()
        assert len(lines) == int(output.find(".//has_n_lines").get("n"))
        for line in output.iter("has_line"):
            assert line.get("line") in lines


def test_outputs_of_nf_core_are_described():
    described = loaded("nf-core", "scmvp", "fit", "meta.yml")
    emitted = re.findall(r"emit: (\w+)", text("packaging", "nf-core", "scmvp", "fit", "main.nf"))
    assert list(described["output"]) == emitted
    assert described["name"] == "scmvp_fit"


def test_the_license_travels_with_the_python_package():
    assert text("python", "LICENSE") == text("LICENSE.md")
