"""No foreign file can run code, no archive can write where it likes, no shell reads a setting.

Ruff's S rules watch over much of it too; what they do not cover, or only in preview, is watched here.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(file for package in ("bench", "baselines") for file in (ROOT / package).rglob("*.py"))
# Calls that run what they read, unpack without a look at the names, or start a shell.
FORBIDDEN = re.compile(
    r"(?:builtins\.)?(?:eval|exec|compile|__import__)"
    r"|(?:pickle|cPickle|_pickle|dill|cloudpickle|joblib|marshal)\.(?:loads?|Unpickler)|shelve\.open|pandas\.read_pickle"
    r"|yaml\.(?:load|load_all|full_load|full_load_all|unsafe_load|unsafe_load_all)"
    r"|torch\.(?:hub|jit|package)\..*|shutil\.unpack_archive|.*\.(?:extract|extractall)"
    r"|os\.(?:system|popen|exec.*|spawn.*)|subprocess\.(?:getoutput|getstatusoutput)"
)
# Keyword -> the only constant that it may have: wherever it is given, or always in the named call.
KEYWORDS = {"allow_pickle": False, "shell": False, "weights_only": True}
REQUIRED = {"torch.load": "weights_only"}


def calls(source: str) -> list[tuple[str, ast.Call]]:
    """Every call with the dotted name of what it calls, import aliases resolved."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            found.append((f"{names.get(first, first)}{dot}{rest}", node))
    return found


def dangers(source: str) -> list[str]:
    """The calls that break a rule."""
    found = []
    for name, call in calls(source):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        wrong = [
            keyword
            for keyword, allowed in KEYWORDS.items()
            if keyword in given and not (isinstance(given[keyword], ast.Constant) and given[keyword].value is allowed)
        ]
        if FORBIDDEN.fullmatch(name) or wrong or (name in REQUIRED and REQUIRED[name] not in given):
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_code_makes_no_dangerous_call(file):
    assert dangers(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch as t\nt.load(path, weights_only=flag)",
        "from torch import load\nload(path)",
        "import torch\ntorch.hub.load_state_dict_from_url(url)",
        "import pickle\npickle.load(stream)",
        "from pickle import loads as read\nread(content)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import pandas as pd\npd.read_pickle(path)",
        "import yaml\nyaml.load(text, Loader)",
        "archive.extractall(folder)",
        "import shutil\nshutil.unpack_archive(path)",
        "eval(text)",
        "exec(text)",
        "import os\nos.system(command)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from subprocess import run\nrun(command, shell=flag)",
    ],
)
def test_a_planted_call_is_found(planted):
    assert len(dangers(planted)) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "net.eval()",
        "import re\nre.compile(text)",
        "import yaml\nyaml.safe_load(text)",
        "import subprocess\nsubprocess.run([command])",
    ],
)
def test_a_harmless_call_passes(harmless):
    assert dangers(harmless) == []


def test_the_shell_lines_of_the_pipeline_hold_no_setting_but_the_names_of_profiles():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    profiles = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["profiles"]
    for name, stage in stages.items():
        assert re.fullmatch(r"python -m bench [a-z_]+ --profile \$\{item\}", stage["do"]["cmd"]), name
    assert [profile for profile in profiles if not re.fullmatch(r"[A-Za-z0-9_-]+", profile)] == []
