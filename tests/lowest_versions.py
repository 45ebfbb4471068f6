"""Print the lowest versions that pyproject.toml allows, one requirement a line, for pip.

    python tests/lowest_versions.py > lowest.txt
    pip install -r lowest.txt

What the tests need beside the base dependencies is among them; torch is not: it would take longer
than all the rest, and everything that denoises works without it.
"""

import re
import sys
from pathlib import Path

import tomllib  # Python 3.11 and newer

ROOT = Path(__file__).parent.parent
EXTRAS = ("data", "train", "export", "plot")
TOOLS = ("hypothesis", "pytest")
LEFT_OUT = ("torch",)


def lowest(project: dict) -> list[str]:
    """Turn `name>=X,<Y` into `name==X`; what has no lowest version is an error."""
    extras = project["optional-dependencies"]
    tools = [one for one in extras["dev"] if re.split(r"\W", one)[0] in TOOLS]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra]), *tools]
    found = {}
    for requirement in wanted:
        if requirement.startswith(f"{project['name']}["):
            continue  # another of the extras
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,<[\w.]+)?", requirement)
        if match is None:
            raise SystemExit(f"{requirement}: expected 'name>=X' or 'name>=X,<Y'")
        if match[1] not in LEFT_OUT:
            found[match[1]] = f"{match[1]}=={match[2]}"
    return list(found.values())


if __name__ == "__main__":
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write("\n".join(lowest(content["project"])) + "\n")
