"""dvc.yaml against the code: the mask firewall, and stages that depend on all that decides their results."""

import ast
import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import sources
from bench.cli import STAGES
from bench.firewall import PLACES, mask_readers
from bench.pipeline import any_profile, outputs, overlap
from bench.prompting.kinds import KINDS
from bench.sources import HARNESS, closure, imports, source_file

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
BASELINES = [f"baselines.{file.stem}" for file in (ROOT / "baselines").glob("[!_]*.py")]

MASK_READERS = {"prepare", "train_gt", "oracle", "controls", "evaluate", "report"}
# What comes out of a mask reader and may be read by stages that must not see masks.
CLEAN = {"data/${item}/images": {*STAGES}, "data/${item}/evaluation": {"tables"}}
MASK_MODULES = {
    "bench.data.masks",
    "bench.data.raw",
    "bench.data.prepare",
    "bench.evaluation",
    "bench.report.cases",
    "bench.report.drawn",
    "bench.report.gallery",
    "bench.stages.controls",
}
SEGMENTERS = sorted({module for module, _ in KINDS.values()})
# What a stage runs through the engine or loads by name, beside what its own module imports.
RUN_BY_NAME = {
    "cams": ["bench.items.cams", *BASELINES],
    "segmenter": ["bench.items.segmenter"],
    "pseudo": ["bench.items.pseudo", *SEGMENTERS],
    "crf": ["bench.items.crf"],
    "train_gt": ["bench.items.segmentation"],
    "train_weak": ["bench.items.segmentation"],
    "oracle": ["bench.items.crf", "bench.items.oracle", "bench.items.segmentation"],
    "controls": ["bench.items.pseudo", "bench.items.segmentation", *SEGMENTERS],
}
DATA_FILES = {
    "bench.claims": ["bench/claims.yaml"],
    "bench.data.busi": ["bench/data/busi_manifest.csv"],
    # The hashes in it decide which weights a network starts from.
    "bench.nets.weights": ["bench/artefacts.yaml"],
    "bench.prompting.sam": ["bench/artefacts.yaml"],
}


def parts(stage: dict[str, Any]) -> dict[str, Any]:
    return stage["do"]


def leaks(stages: dict[str, Any]) -> set[tuple[str, str]]:
    """(stage, dependency) where a stage that must not see masks depends on what a mask reader or download wrote."""
    forbidden = {out for name in (MASK_READERS | {"download"}) & set(stages) for out in outputs(stages[name])}
    return {
        (name, dep)
        for name in set(stages) - MASK_READERS
        for dep in parts(stages[name])["deps"]
        for out in forbidden | set(PLACES)
        if overlap(any_profile(dep), out)
        and not (name in CLEAN.get(out, ()) and (any_profile(dep) + "/").startswith(out + "/"))
    }


def needed(stage: str) -> list[str]:
    return closure(f"bench.stages.{stage}", *RUN_BY_NAME.get(stage, []))


def test_only_the_allowed_stages_depend_on_masks():
    assert mask_readers(PIPELINE) == MASK_READERS


def test_no_other_stage_depends_on_anything_made_from_masks():
    assert leaks(PIPELINE) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "data/${item}/masks",
        "data/${item}/masks/store.npy",
        "data/busi/masks/store.npy",
        "data/${item}/raw/benign",
        "data/${item}/predictions/gt",
        "data/${item}/predictions/gt/gt_whole",
        "data/${item}/predictions",
        "data/${item}/evaluation/diagnostics.json",
        "data/${item}/controls/oracle_subset/split-0-training-0.csv",
        "data/${item}/predictions/controls",
        "data/${item}",
        "data",
        "reports/${item}/report.md",
    ],
)
@pytest.mark.parametrize(
    "stage", ["audit", "cams", "select", "segmenter", "pseudo", "crf", "train_weak", "split", "tables"]
)
def test_a_planted_dependency_is_found(stage, planted):
    stages = copy.deepcopy(PIPELINE)
    parts(stages[stage])["deps"].append(planted)
    if stage == "tables" and "evaluation" in planted:
        assert leaks(stages) == set()  # tables may read counts, never masks
    else:
        assert leaks(stages) == {(stage, planted)}


def test_a_stage_that_begins_to_read_masks_is_found():
    stages = copy.deepcopy(PIPELINE)
    parts(stages["cams"])["deps"].append("data/${item}/masks")
    assert mask_readers(stages) == MASK_READERS | {"cams"}


WEAK_STAGES = ["audit", "split", "cams", "select", "segmenter", "pseudo", "crf", "train_weak", "tables"]
WEAK_CODE = {name: [f"bench.stages.{name}", *RUN_BY_NAME.get(name, [])] for name in WEAK_STAGES}
WEAK_CODE |= {module: [module] for module in BASELINES}


def mask_modules(modules: list[str]) -> set[str]:
    return MASK_MODULES & set(closure(*modules))


def mask_names(modules: list[str]) -> set[tuple[str, str]]:
    """(module, text) of the string constants that name the masks' or the raw folder."""
    return {
        (module, node.value)
        for module in closure(*modules)
        for node in ast.walk(ast.parse(source_file(module).read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and {"masks", "raw"} & set(re.split(r"[/\\]", node.value))
    }


@pytest.mark.parametrize("name", WEAK_CODE)
def test_code_that_must_not_see_masks_cannot_reach_them(name):
    assert mask_modules(WEAK_CODE[name]) == set()
    assert mask_names(WEAK_CODE[name]) == set()


@pytest.mark.parametrize(
    "module", [f"bench.stages.{name}" for name in ("train_gt", "oracle", "controls", "evaluate", "report")]
)
def test_the_watch_sees_those_that_may(module):
    assert "bench.data.masks" in mask_modules([module])
    assert ("bench.data.masks", "masks") in mask_names([module])


def test_the_segmenter_learns_from_nothing_that_any_stage_made():
    assert [dep for dep in parts(PIPELINE["segmenter"])["deps"] if dep.startswith(("data/", "reports/"))] == []
    assert "data" not in settings_read("bench.stages.segmenter")


@pytest.mark.parametrize("name", WEAK_CODE)
def test_only_the_segmenter_can_render_phantoms_which_come_with_masks(name):
    assert ("bench.data.phantom" in closure(*WEAK_CODE[name])) == (name == "segmenter")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the project's modules in which things can be planted."""
    for package in sources.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    imports.cache_clear()
    yield tmp_path
    imports.cache_clear()


@pytest.mark.parametrize(
    ("file", "code", "caught"),
    [
        ("bench/stages/select.py", "from bench.data import masks", ["select"]),
        ("bench/items/cams.py", "def f():\n    from bench.data.masks import folder", ["cams"]),
        ("bench/items/segmentation.py", "import bench.data.raw", ["train_weak"]),
        (
            "bench/stages/common.py",
            "import bench.evaluation as e",
            ["cams", "segmenter", "pseudo", "crf", "train_weak"],
        ),
        ("bench/crf_pool.py", "from bench.data.raw import folder", ["crf"]),
        ("baselines/amr.py", "def f():\n    from bench.data.masks import folder", ["cams", "baselines.amr"]),
        ("bench/items/segmenter.py", "from bench.data.raw import image_files", ["segmenter"]),
        ("bench/prompting/grabcut.py", "from bench.report.gallery import regions", ["pseudo"]),
    ],
)
def test_a_planted_import_is_found(copied, file, code, caught):
    with (copied / file).open("a") as stream:
        stream.write(f"\n\n{code}\n")
    assert [name for name, modules in WEAK_CODE.items() if mask_modules(modules)] == caught


@pytest.mark.parametrize("code", ['MASKS = "masks"', 'def f(data):\n    return data / "masks/original"'])
def test_a_planted_place_is_found(copied, code):
    with (copied / "baselines" / "amr.py").open("a") as stream:
        stream.write(f"\n\n{code}\n")
    assert mask_names(["baselines.amr"])


def uncovered(stage: str, stages: dict[str, Any]) -> list[str]:
    """Sources that decide a stage's result and are no dependency of it, nor lie in one."""
    modules = set(needed(stage)) - set(HARNESS)
    files = [source_file(module).relative_to(sources.ROOT).as_posix() for module in modules]
    files += [file for module in modules for file in DATA_FILES.get(module, [])]
    deps = parts(stages[stage])["deps"]
    return sorted(file for file in files if not any(f"{file}/".startswith(f"{dep}/") for dep in deps))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_sources_that_decide_its_result(stage):
    assert uncovered(stage, PIPELINE) == []


@pytest.mark.parametrize(("stage", "removed"), [("cams", "baselines"), ("select", "bench/selection.py")])
def test_a_forgotten_source_is_found(stage, removed):
    stages = copy.deepcopy(PIPELINE)
    parts(stages[stage])["deps"].remove(removed)
    assert uncovered(stage, stages)[-1].startswith(removed)


def test_a_new_import_is_found(copied):
    with (copied / "bench" / "selection.py").open("a") as stream:
        stream.write("\n\nfrom bench.metrics import counts\n")
    assert uncovered("select", PIPELINE) == ["bench/metrics.py"]


def test_no_exception_is_idle():
    every = {module for stage in STAGES for module in needed(stage)}
    assert set(HARNESS) <= every


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_sources_that_exist_or_outputs_of_earlier_stages(stage):
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    made = [out for name in earlier for out in outputs(PIPELINE[name])]
    for dep in parts(PIPELINE[stage])["deps"]:
        if dep.startswith(("data/", "reports/")):
            assert any(f"{dep}/".startswith(f"{out}/") for out in made), dep
        else:
            assert (ROOT / dep).exists(), dep


def test_the_report_depends_on_every_table_that_it_lists():
    tables = {out for out in outputs(PIPELINE["tables"]) if out.endswith((".csv", ".json"))}
    assert tables <= set(parts(PIPELINE["report"])["deps"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_lock(stage):
    assert "requirements/run.txt" in parts(PIPELINE[stage])["deps"]


def test_every_command_is_a_stage_for_every_profile():
    assert list(PIPELINE) == list(STAGES)
    for name, stage in PIPELINE.items():
        assert stage["foreach"] == "${profiles}"
        assert parts(stage)["cmd"] == f"python -m bench {name} --profile ${{item}}"
        assert source_file(f"bench.stages.{name}")


# Modules through which a stage reads the settings too. bench.stages.segmenter decides nothing that `cams` leaves.
SHARED_BETWEEN_STAGES = {
    "train_gt": ["bench.stages.training"],
    "train_weak": ["bench.stages.training"],
    "oracle": ["bench.stages.training", "bench.stages.crf"],
    "controls": ["bench.stages.training", "bench.stages.pseudo", "bench.stages.select"],
}


def lookup(path: str) -> Any:
    value = PARAMS
    for key in path.split("."):
        value = value[key]
    return value


@pytest.mark.parametrize("profile", PARAMS["profiles"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_param_exists(stage, profile):
    for entry in parts(PIPELINE[stage])["params"]:
        assert entry == "${item}" or entry.startswith("${item}.")
        lookup(entry.replace("${item}", profile))


def settings_read(module: str) -> set[str]:
    """The blocks of the settings that a module names, e.g. "cams" for `settings.cams`."""
    tree = ast.parse(source_file(module).read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
    }
    return {"train" if name == "row" else name for name in read}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_params_that_it_reads(stage):
    modules = [f"bench.stages.{stage}", *SHARED_BETWEEN_STAGES.get(stage, [])]
    read = set().union(*(settings_read(module) for module in modules))
    listed = parts(PIPELINE[stage])["params"]
    if listed == ["${item}"]:
        return
    assert read == {entry.split(".")[1] for entry in listed}


PLAN = """
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
repo = Repo(".")
for stage in plan_repro(repo.index.graph, repo.stage.collect("report@phantom")):
    print(stage.name.partition("@")[0])
"""


def test_make_takes_the_classifiers_before_the_small_sam(tmp_path):
    """DVC's order is that of Python's hashes, which the Makefile fixes."""
    for file in ("dvc.yaml", "params.yaml", ".dvc/config"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (seed,) = re.findall(
        r"^reproduce: export (PYTHONHASHSEED) := (\d+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    environment = os.environ | {
        seed[0]: seed[1],
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", PLAN]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    order = done.stdout.split()
    assert sorted(order) == sorted(STAGES)
    assert order.index("cams") < order.index("segmenter")
