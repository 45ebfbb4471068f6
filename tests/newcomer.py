"""A machine for the commands of docs/ascend.md: CANN, pyACL and a chip simulated, nothing real.

Programs that would leave the machine or change it (pip, ssh, scp, docker, npu-smi, python3 -m venv)
are replaced by ones that check what they are asked and do what can be done here.
"""

import os
import re
import sys
from pathlib import Path

from conftest import ROOT
from npu_smi import HEAD, ROW
from om_helpers import FAKES, install_atc

PLACE = "/usr/local/Ascend"

_PYTHON = f"""\
#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
  for folder; do :; done
  mkdir -p "$folder/bin" && echo ':' > "$folder/bin/activate"
else
  exec "{sys.executable}" "$@"
fi
"""

PIP = f"""\
#!{sys.executable}
import pathlib, re, sys
declared = pathlib.Path("{ROOT}/pyproject.toml").read_text()
command, *words = sys.argv[1:]
assert command in ("install", "download", "wheel"), command
if command == "download":
    pathlib.Path(words[words.index("-d") + 1]).mkdir(exist_ok=True)
if command == "wheel":
    folder = pathlib.Path(words[words.index("-w") + 1])
    folder.mkdir()
    (folder / "adnet-0.2.0-py3-none-any.whl").touch()
if "--find-links" in words:
    assert pathlib.Path(words[words.index("--find-links") + 1]).is_dir(), "no wheels"
for word in words:
    for extra in re.findall(r"(?:^\\.|adnet|whl)\\[([\\w,-]+)\\]", word):
        for one in extra.split(","):
            assert re.search(rf"^{{one}} = \\[", declared, re.MULTILINE), f"no extra {{one}}"
"""

_SSH = """\
#!/bin/sh
[ "$1" = host ] || exit 255
shift
cd "$NEWCOMER/host" && exec bash -c "$*"
"""

_SCP = """\
#!/bin/sh
[ "$1" = -r ] && [ "$3" = host: ] && exec cp -r "$2" "$NEWCOMER/host"
exit 1
"""

_DOCKER = f"""\
#!{sys.executable}
# docker build reads the recipe; docker run starts its entry point on this machine, in place of the
# image, where nothing but what was mounted at /work is looked at.
import json, os, pathlib, re, sys
command, *words = sys.argv[1:]
root = pathlib.Path("{ROOT}")
images = pathlib.Path(os.environ["NEWCOMER"], "images")
images.mkdir(exist_ok=True)
if command == "build":
    recipe = (root / words[words.index("-f") + 1]).read_text().replace("\\\\\\n", " ")
    argument = re.search(r"^ARG (\\w+)=", recipe, re.MULTILINE)[1]
    assert words[words.index("--build-arg") + 1].startswith(argument + "="), words
    allowed = (root / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.*)$", recipe, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (root / source).exists() and "!" + source in allowed, source
    (images / words[words.index("-t") + 1]).write_text(recipe)
else:
    assert command == "run"
    takes = ("-v", "--device")
    mounts, devices = [], []
    while words[0].startswith("-"):
        flag = words.pop(0)
        if flag in takes:
            (mounts if flag == "-v" else devices).append(words.pop(0))
        else:
            assert flag == "--rm", flag
    image, *rest = words
    recipe = (images / image).read_text()
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", recipe, re.MULTILINE)[1])
    script = re.search(r"^COPY (docker/\\S+) " + entry[1] + "$", recipe, re.MULTILINE)[1]
    if "adnet-run" in rest:
        for need in ("davinci0", "davinci_manager", "devmm_svm", "hisi_hdc"):
            assert f"/dev/{{need}}" in devices, need
        assert any(":/usr/local/Ascend/driver:ro" in one for one in mounts), mounts
    (here,) = [one.partition(":")[0] for one in mounts if one.endswith(":/work")]
    os.chdir(here)
    os.execvp(entry[0], [entry[0], str(root / script), *entry[2:], *rest])
"""


_HOOK = """\
import importlib.abc, importlib.util, sys
class Little(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "adnet.export.calibration":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def less(module):
            run(module)
            module.COUNT, module._LEAST, module._SIDE = 2, 2, 48
        spec.loader.exec_module = less
        return spec
sys.meta_path.insert(0, Little())
"""


def little_calibration(folder):
    """A folder for PYTHONPATH that has int8 calibrated with two small images."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK)
    return str(folder)


def blocks(page):
    """Every bash block of a page, as (heading, text)."""
    found = []
    heading = ""
    inside = None
    for line in page.splitlines():
        if inside is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif inside is None and line.startswith("```bash"):
            inside = []
        elif inside is not None and line.startswith("```"):
            found.append((heading, "\n".join(inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
    return found


def machine(folder, make_image, photos):
    """Set the machine up in a folder; returns its environment.

    Args:
        photos: (width, height) of each image in PHOTOS.
    """
    cann = folder / PLACE.lstrip("/") / "ascend-toolkit" / "latest"
    install_atc(cann)
    # pyACL and AMCT come with CANN: they are there once its environment is set.
    script = cann.parent / "set_env.sh"
    (cann / "set_env.sh").rename(script)
    with script.open("a") as file:
        file.write(f'export PYTHONPATH="{FAKES}${{PYTHONPATH:+:$PYTHONPATH}}"\n')
    programs = folder / "bin"
    programs.mkdir()
    texts = {"python3": _PYTHON, "python": _PYTHON, "pip": PIP, "ssh": _SSH, "scp": _SCP,
             "docker": _DOCKER}  # fmt: skip
    table = HEAD + ROW.format(npu=0, name="310P3", phy=100)
    texts["npu-smi"] = f"#!/bin/sh\ncat <<'TABLE'\n{table}TABLE\n"
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for index, size in enumerate(photos):
        make_image(folder / "PHOTOS" / f"{index}.png", size=size, seed=index)
    (folder / "host").mkdir()
    (folder / "tests").symlink_to(ROOT / "tests")
    names = ("ASCEND", "LD_LIBRARY_PATH", "ACL_FAKE", "PYTHONPATH")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(names)}
    path = [programs, Path(sys.executable).parent, os.environ["PATH"]]
    return kept | {
        "PATH": os.pathsep.join(map(str, path)), "NEWCOMER": str(folder), "HOME": str(folder),
        "ASCEND_TOOLKIT_HOME": str(cann),
    }  # fmt: skip


def script(page, folder, replacements):
    """One bash script of all blocks of a page; each says its heading before it runs."""
    lines = ["set -euo pipefail"]
    for heading, text in blocks(page):
        chip = "Ascend910B4" if "910B" in heading else "Ascend310P3"
        lines += [
            f"echo '== {heading}' >&2",
            f"export ACL_FAKE_SOC={chip} ACL_FAKE_DEVICES=2",
            text.replace(PLACE + "/ascend-toolkit", f"{folder}{PLACE}/ascend-toolkit"),
        ]
    whole = "\n".join(lines) + "\n"
    for old, new in replacements:
        whole = re.sub(old, new, whole)
    return whole
