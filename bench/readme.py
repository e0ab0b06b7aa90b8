"""Keeps the generated tables inside README.md: `python -m bench.readme`.

A block begins with `<!-- reports/<profile>/<table>.md -->`, ends with `<!-- end -->`, and holds that file.
"""

import re
from pathlib import Path

from bench.errors import UserError
from bench.files import replacing_file

README = Path("README.md")
BLOCK = re.compile(r"<!-- (reports/\S+\.md) -->\n.*?<!-- end -->", re.DOTALL)


def refreshed(text: str, root: Path) -> str:
    """`text` with every block replaced by the report it names; UserError for a report that does not exist."""

    def block(found: re.Match[str]) -> str:
        report = root / found[1]
        if not report.is_file():
            raise UserError(f"README names {found[1]}, which does not exist - run the profile first")
        body = report.read_text(encoding="utf-8").replace("## ", "#### ", 1)
        return f"<!-- {found[1]} -->\n{body}<!-- end -->"

    return BLOCK.sub(block, text)


def main() -> None:
    """Rewrite README.md in the current folder."""
    text = refreshed(README.read_text(encoding="utf-8"), Path())
    with replacing_file(README) as file:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
