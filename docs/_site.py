"""Hooks of the documentation site (mkdocs.yml): what is made from the code when it is built.

- reference/PROGRAM.md: the options of every program, as Typer writes them.
- CHANGELOG.md, CONTRIBUTING.md and LICENSE, which lie above docs/, as pages of the site.
- live/: the page that denoises in the browser (`adnet-export web`), for try.md; not with
  ADNET_SITE_LIVE=0 in the environment, as where npm is missing.
- A line under each code block of which the tests do not run all (_blocks.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tomllib
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from _blocks import with_reasons

ROOT = Path(__file__).resolve().parent.parent
ABOVE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "LICENSE": "LICENSE.txt",
    "adnet/weights/index.json": "models-index.json",
}
"""What lies above docs/ and is linked from there -> where the site has it."""

SIMULATED = "ascend.md"
"""Its commands run on a simulated machine, every one."""


def programs() -> dict[str, str]:
    """Return the programs of pyproject.toml with their modules."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    scripts: dict[str, str] = declared["project"]["scripts"]
    return {name: entry.partition(":")[0] for name, entry in sorted(scripts.items())}


@event_priority(100)  # before mkdocstrings looks
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay the sources out as they are imported, for mkdocstrings, which does not import them."""
    layout = Path(tempfile.mkdtemp(prefix="adnet-site-"))
    config.extra["layout"] = str(layout)
    ignore = shutil.ignore_patterns("__pycache__", "*.onnx")
    shutil.copytree(ROOT / "adnet", layout / "adnet", ignore=ignore)
    for room in ("export", "runtime", "benchmarks"):
        shutil.copytree(ROOT / room, layout / "adnet" / room, ignore=ignore)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(layout)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those above docs/."""
    listed = []
    for name, module in programs().items():
        page = f"reference/{name}.md"
        text = _options_of(name, module)
        files.append(File.generated(config, page, content=text))
        listed.append(f"- [{name}]({name}.md): {text.splitlines()[2]}")
    intro = "# Reference\n\nOf the programs, as `--help` prints it, and of the Python API.\n\n"
    python = "- [Python](python.md): what `import adnet` offers\n"
    index = intro + "\n".join(listed) + "\n" + python
    files.append(File.generated(config, "reference/index.md", content=index))
    for source, target in ABOVE.items():
        if target != "index.md":
            files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_nav(nav: Any, config: MkDocsConfig, files: Files) -> Any:
    """Leave the nav as it is; pages of single programs hang below the reference's index."""
    for file in files.documentation_pages():
        if file.src_uri.startswith("reference/adnet-"):
            file.inclusion = file.inclusion.NOT_IN_NAV
    return nav


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to the site's copies, and tell which blocks the tests do not run."""
    here = page.file.src_uri
    up = "../" * here.count("/")
    for source, target in ABOVE.items():
        markdown = re.sub(rf"\]\((?:\.\./)+{re.escape(source)}", f"]({up}{target}", markdown)
    if here in ABOVE.values():  # written for the top of the checkout
        markdown = re.sub(r"\]\(docs/", "](", markdown)
        for source, target in ABOVE.items():
            markdown = markdown.replace(f"]({source}", f"]({target}")
    return markdown if here == SIMULATED else with_reasons(markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Put the live page beside the pages."""
    shutil.rmtree(config.extra["layout"])
    if os.environ.get("ADNET_SITE_LIVE") == "0":
        return
    live = Path(config.site_dir, "live")
    command = [sys.executable, "-m", "adnet.export.cli", "web", "gray-blind", "color-blind"]
    extra = ["--ort-web", os.environ["ADNET_ORT_WEB"]] if "ADNET_ORT_WEB" in os.environ else []
    shutil.rmtree(live, ignore_errors=True)
    made = subprocess.run(
        [*command, "-o", str(live), *extra], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise PluginError(f"the live page was not made: {made.stderr.strip()}")


def _options_of(name: str, module: str) -> str:
    """Return the page of a program, written by Typer."""
    command = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", name]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise PluginError(f"{name}: typer could not write its page: {made.stderr.strip()}")
    return made.stdout
