"""``python tools/links.py``: fail unless every link between our pages leads somewhere.

Checked are relative links in the Markdown files that git knows: the file is there, and
where the link has a fragment, so is the heading. Links to other sites are not followed.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ELSEWHERE = re.compile(r"^[a-z]+:")


def broken(page: Path) -> Iterator[str]:
    """Yields the targets on ``page`` that lead nowhere."""
    for target in _LINK.findall(_prose(page)):
        if _ELSEWHERE.match(target):
            continue
        path, _, fragment = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (fragment and fragment not in _anchors(file)):
            yield target


def _anchors(page: Path) -> set[str]:
    """The fragments of the headings of ``page``, as Git hosts derive them."""
    headings = (heading.lower() for heading in _HEADING.findall(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def _prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def main() -> int:
    """Prints each broken link with its page."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, check=True, capture_output=True
    )
    pages = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    found = [(page, target) for page in pages for target in broken(page)]
    for page, target in found:
        print(f"{page.relative_to(ROOT)}: {target} leads nowhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
