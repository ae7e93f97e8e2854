"""One JUnit report of several: python scripts/ci/junit.py FILE... > pytest-report.xml"""

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree


def merged(reports: Iterable[str]) -> str:
    """A report whose suites are those of `reports`, in their order.

    Raises ValueError where there is no suite: a report of nothing would pass for success.
    """
    root = ElementTree.Element("testsuites", name="all")
    for report in reports:
        root.extend(ElementTree.fromstring(report).iter("testsuite"))
    if not len(root):
        raise ValueError("the reports must hold a test suite, held none")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def main() -> None:
    """Write the one report to stdout."""
    sys.stdout.write(merged(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:]))


if __name__ == "__main__":
    main()
