"""Turn a JUnit file of pytest into lines "passed|failed|skipped <tab> name <tab> reason"."""

import sys
import xml.etree.ElementTree as ElementTree

# JUnit's child elements of a test case, in order of importance.
OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """The status of one test case and the first line of the reason, if any."""
    for element, status in OUTCOMES.items():
        found = case.find(element)
        if found is not None:
            reason = found.get("message") or ""
            return status, " ".join(reason.splitlines()[:1])
    return "passed", ""


def main(path: str) -> None:
    for case in ElementTree.parse(path).iter("testcase"):
        status, reason = outcome(case)
        name = f"{case.get('classname')}.{case.get('name')}"
        print(status, name, reason.replace("\t", " "), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1])
