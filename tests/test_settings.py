"""params.yaml: the paper's values, and how mistakes are named."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.errors import UserError
from bench.methods import methods
from bench.schema import BusiData, PhantomData
from bench.settings import PARAMS, load, profiles

CONTENT = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
NAMES = ["busi", "busi-scratch", "busi-small", "phantom"]


def test_there_are_four_profiles():
    assert profiles() == NAMES
    assert set(CONTENT) == {"profiles", *NAMES}


@pytest.mark.parametrize("profile", NAMES)
def test_every_profile_loads_and_has_all_rows(profile):
    settings = load(profile)
    assert list(settings.train.rows) == [
        "gt_whole",
        "gt_subset",
        "gt_mean_teacher",
        "pseudo_whole",
        "pseudo_subset",
        "pseudo_mean_teacher",
    ]
    assert isinstance(settings.data, PhantomData if profile == "phantom" else BusiData)


def test_busi_holds_the_papers_values():
    settings = load("busi")
    amr = methods()["amr"].settings.model_validate(settings.cams["amr"])
    for block in (amr, settings.train.common):
        assert block.optimisation.epochs == 60
        assert block.optimisation.batch_size == 32
        assert block.optimisation.learning_rate == 1e-3
        assert block.optimisation.betas == [0.9, 0.999]
        assert block.augmentation.horizontal_flip
        assert block.augmentation.vertical_flip
        assert block.augmentation.rotation_degrees > 0
    assert (amr.network.encoder, amr.network.initialisation) == ("resnet50", "imagenet")
    assert (settings.train.common.encoder, settings.train.common.initialisation) == ("resnet50", "imagenet")
    assert settings.select.cams == "amr"
    assert (settings.select.alpha1, settings.select.alpha2) == (2.5, 1.0)
    assert (settings.select.rule, settings.select.iou_threshold, settings.select.upper_level) == ("threshold", 0.7, 250)
    assert (settings.pseudo.segmenter, settings.pseudo.variant, settings.pseudo.checkpoint) == ("sam", "vit_h", None)
    assert settings.prepare.image_size == 256
    assert settings.split.protocol == "paper"
    assert not any(settings.train.rows.values())


@pytest.mark.parametrize("profile", NAMES[1:])
def test_the_other_profiles_need_nothing_downloaded_but_busi(profile):
    settings = load(profile)
    assert settings.cams["amr"]["network"]["initialisation"] == "none"
    assert settings.train.common.initialisation == "none"
    assert settings.pseudo.segmenter == "grabcut" or settings.pseudo.trained_here


@pytest.mark.parametrize("profile", NAMES)
def test_only_the_demo_trains_its_segmenter(profile):
    settings = load(profile)
    assert settings.pseudo.trained_here == (settings.segmenter is not None) == (profile == "phantom")
    assert settings.pseudo.precision == "fp32"


SEGMENTER = "phantom.segmenter"
SEGMENTER_MISTAKES = [
    ("segmenter", None, "phantom: pseudo.variant: phantom needs the settings of its training under segmenter"),
    ("segmenter.training.seed", 2024, "phantom: segmenter.training.seed is data.seed (2024): these would be the bench"),
    ("segmenter.held_out.seed", 2024, "phantom: segmenter.held_out.seed is data.seed (2024): these would be the bench"),
    ("segmenter.held_out.seed", 7101, f"{SEGMENTER}: held_out.seed must differ from training.seed"),
    ("segmenter.sizes.patch_size", 10, f"{SEGMENTER}.sizes: image_size 192 is no multiple of patch_size 10"),
    ("segmenter.sizes.heads", 5, f"{SEGMENTER}.sizes: 96 channels cannot be divided among 5 heads"),
    ("segmenter.sizes.global_blocks", [2], f"{SEGMENTER}.sizes: global_blocks names a block beyond the 2 of depth"),
    ("segmenter.sizes.prompt_dim", 40, f"{SEGMENTER}.sizes.prompt_dim: "),
    ("pseudo.checkpoint", {"file": "a", "sha256": "0" * 64}, "phantom.pseudo: variant: phantom is trained by the segm"),
    ("pseudo.precision", "fp16", "phantom.pseudo.precision: "),
]


@pytest.mark.parametrize(("path", "value", "message"), SEGMENTER_MISTAKES)
def test_a_mistake_of_the_segmenter_is_named_by_its_path(tmp_path, path, value, message):
    assert refusal(tmp_path, {path: value}, "phantom").startswith(message)


def test_a_network_of_three_stages_has_no_output_stride_of_32(tmp_path):
    message = refusal(tmp_path, {"cams.amr.network.output_stride": 32}, "phantom")
    assert message.startswith("phantom.cams.amr.network: resnet8 has three stages")


def test_the_seed_of_a_phantom_data_set_is_free_elsewhere(tmp_path):
    changes = {"segmenter": CONTENT["phantom"]["segmenter"], "pseudo.variant": "phantom"}
    assert load("busi", changed(tmp_path, changes)).pseudo.trained_here


def changed(tmp_path: Path, changes: dict[str, Any], profile: str = "busi") -> Path:
    """params.yaml with values of one profile replaced, by dotted path; ... deletes a key."""
    content = json.loads(json.dumps(CONTENT))  # parts the blocks that YAML anchors share
    for path, value in changes.items():
        *parents, last = path.split(".")
        block = content[profile]
        for name in parents:
            block = block[name]
        if value is ...:
            del block[last]
        else:
            block[last] = value
    file = tmp_path / "params.yaml"
    file.write_text(yaml.dump(content), encoding="utf-8")
    return file


def refusal(tmp_path: Path, changes: dict[str, Any], profile: str = "busi") -> str:
    with pytest.raises(UserError) as caught:
        load(profile, changed(tmp_path, changes, profile))
    assert "\n" not in str(caught.value)
    return str(caught.value)


MISTAKES = [
    ("select.alpha3", 1.0, "busi.select.alpha3: unknown setting"),
    ("selection", {}, "busi.selection: unknown setting"),
    ("cams.amr.network.depth", 50, "busi.cams.amr.network.depth: unknown setting"),
    ("cams.amr.optimisation.epochs", 0, "busi.cams.amr.optimisation.epochs: "),
    ("cams.amr.loss_weights", [1.0, 1.0], "busi.cams.amr.loss_weights: "),
    ("cams.amr.network.encoder", "resnet8", "busi.cams.amr.network: resnet8 has no ImageNet weights"),
    ("cams.amr.network.initialisation", "none", "busi.cams.amr.network: fixed_batch_norm and frozen_stem need"),
    ("cams.amr.network.width", 0.5, "busi.cams.amr.network: ImageNet weights need width: 1.0"),
    ("cams.vgg16_cam.network.width", 0.0, "busi.cams.vgg16_cam.network.width: "),
    ("train.common.width", 0.5, "busi.train.common: ImageNet weights need width: 1.0"),
    (
        "train.rows.gt_whole",
        {"width": 0.5, "initialisation": "none", "decoder_channels": [8, 4, 2]},
        "busi.train.rows.gt_whole: width: 0.5 needs decoder_channels of 4 and more",
    ),
    (
        "train.rows.gt_whole",
        {"width": 0.3, "initialisation": "none"},
        "busi.train.rows.gt_whole: width: 0.3 times 64 and times decoder_channels must be whole numbers",
    ),
    ("cams.vgg16_cam.network.width", 1.5, "busi.cams.vgg16_cam.network.width: "),
    ("cams.amr.optimisation.learning_rate", math.inf, "busi.cams.amr.optimisation.learning_rate: "),
    ("cams.amr.scales", [1.0, math.inf], "busi.cams.amr.scales.1: "),
    ("cams.amr.scales", [1.0, 0.02], "busi.cams.amr.scales: 0.02 makes 256 px 5 px, and this network needs 8"),
    ("cams.oaa", {}, "busi.cams.oaa: no such method; known: amr"),
    ("select.cams", "oaa", "busi.select.cams: 'oaa' is none of busi.cams that gives CAMs"),
    ("audit.thumbnail", 4, "busi.audit.thumbnail: "),
    ("audit.crop", 0.6, "busi.audit.crop: "),
    ("audit.ncc", 1.0, "busi.audit.ncc: "),
    ("split.protocol", "random", "busi.split.protocol: "),
    ("split.groups", {"file": "own.csv", "sha256": "0" * 64}, "busi.split: groups without protocol: grouped"),
    ("split", {"protocol": "grouped", "groups": {"file": "a", "sha256": "0"}}, "busi.split.groups.sha256: "),
    ("oracle", ["amr", "amr"], "busi.oracle: a method is listed twice"),
    ("oracle", ["oaa"], "busi.oracle: 'oaa' is none of busi.cams that gives CAMs"),
    ("controls.selections", ["random"], "busi.controls.selections.0: "),
    ("controls.selections", ["inverted", "inverted"], "busi.controls.selections: a name is listed twice"),
    ("controls.rows", ["gt_subset"], "busi.controls.rows.0: "),
    ("train.rows", {"gt_whole": {}}, "busi.controls.rows: 'pseudo_subset' is none of busi.train.rows"),
    ("controls.noise.sigmas", [0.1, 0.05], "busi.controls.noise.sigmas: must ascend"),
    ("controls.noise.sigmas", [0.1], "busi.controls.noise.sigmas: "),
    ("controls.noise.maps", 0, "busi.controls.noise.maps: "),
    ("train.common.optimisation.epochs", "60", "busi.train.common.optimisation.epochs: "),
    ("train.common.optimisation.epochs", 60.5, "busi.train.common.optimisation.epochs: "),
    ("train.common.optimisation.batch_size", True, "busi.train.common.optimisation.batch_size: "),
    ("train.common.optimisation.learning_rate", "1e-3", "busi.train.common.optimisation.learning_rate: "),
    ("train.common.mean_teacher.labelled_per_batch", 32, "busi.train.common: mean_teacher.labelled_per_batch must be"),
    ("select.alpha2", 2.5, "busi.select: alpha2 (2.5) must be smaller than alpha1 (2.5)"),
    ("select.alpha2", 3.0, "busi.select: alpha2 (3.0) must be smaller than alpha1 (2.5)"),
    ("select.iou_threshold", 70, "busi.select.iou_threshold: "),
    ("select.rule", "best", "busi.select.rule: "),
    ("prepare.image_size", 250, "busi.prepare.image_size: "),
    ("prepare.image_size", 0, "busi.prepare.image_size: "),
    ("prepare.image_size", ..., "busi.prepare.image_size: Field required"),
    ("engine", ..., "busi.engine: Field required"),
    ("seeds.split", [0, 1, 0], "busi.seeds.split: a seed is listed twice"),
    ("seeds.training", [], "busi.seeds.training: "),
    ("seeds.split", [-1], "busi.seeds.split.0: "),
    ("data.source", "busbra", "busi.data: "),
    ("data.benign", 4, "busi.data.benign: unknown setting"),
    ("train.rows.gt_all", {}, "busi.train.rows.gt_all: no such row; known: gt_whole"),
    ("train.rows.amr", {"epochs": 5}, "busi.train.rows.amr.epochs: unknown setting"),
    ("train.rows.gt_whole", {"epochs": 5}, "busi.train.rows.gt_whole.epochs: unknown setting"),
    ("train.rows.gt_whole", {"optimisation": {"epochs": "5"}}, "busi.train.rows.gt_whole.optimisation.epochs: "),
    ("train.rows.gt_whole", {"optimisation": 5}, "busi.train.rows.gt_whole.optimisation: "),
    ("train.rows.gt_whole", None, "busi.train.rows.gt_whole: "),
    ("train.rows.gt_subset", {"optimisation": {"batch_size": 8}}, "busi.train.rows.gt_subset: mean_teacher.labelled"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES, ids=[f"{path}={value}" for path, value, _ in MISTAKES])
def test_a_mistake_is_named_by_its_path(tmp_path, path, value, message):
    assert refusal(tmp_path, {path: value}).startswith(message)


def test_two_mistakes_are_named_together(tmp_path):
    message = refusal(tmp_path, {"select.iou_threshold": 70, "prepare.image_size": 250})
    assert "busi.select.iou_threshold: " in message
    assert "busi.prepare.image_size: " in message


def test_a_wrong_value_is_shown(tmp_path):
    assert "(got 250)" in refusal(tmp_path, {"prepare.image_size": 250})


def test_the_settings_of_phantoms_are_named_without_their_kind(tmp_path):
    assert refusal(tmp_path, {"data.benign": 0}, "phantom").startswith("phantom.data.benign: ")


@pytest.mark.parametrize("profile", ["bus", "profiles", ""])
def test_an_unknown_profile_is_refused_and_the_known_are_named(profile):
    with pytest.raises(UserError, match=r"unknown profile .*busi, busi-scratch, busi-small, phantom$"):
        load(profile)


def test_a_listed_profile_without_a_block_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("profiles: [busi]\n")
    with pytest.raises(UserError, match="unknown profile 'busi'"):
        load("busi", tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing"),
        ("a: [", "not valid YAML"),
        ("a: 2020-99-99", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: &a {b: *a}", "not valid YAML"),
        ("[1]", "must map"),
        ("", "must map"),
    ],
)
def test_a_file_that_is_no_params_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load("busi", tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_params_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read: Is a directory$"):
        load("busi", tmp_path)


def test_a_plain_vgg16_takes_no_image_below_32_px(tmp_path):
    plain = {"cams.vgg16_cam.network.layout": "plain"}
    assert load("busi", changed(tmp_path, plain)).prepare.image_size == 256
    message = "busi.cams.vgg16_cam.scales: 0.1 makes 256 px 26 px, and this network needs 32"
    assert refusal(tmp_path, {**plain, "cams.vgg16_cam.scales": [1.0, 0.1]}) == message


def test_a_row_changes_only_what_it_names_at_every_depth(tmp_path):
    changes = {"train.rows.pseudo_mean_teacher": {"mean_teacher": {"consistency_weight": 1.0}, "encoder": "resnet18"}}
    settings = load("busi", changed(tmp_path, changes))
    common, row = settings.row("gt_whole"), settings.row("pseudo_mean_teacher")
    assert common == settings.train.common
    assert row.mean_teacher.consistency_weight == 1.0
    assert row.encoder == "resnet18"
    assert row.mean_teacher.model_dump(exclude={"consistency_weight"}) == common.mean_teacher.model_dump(
        exclude={"consistency_weight"}
    )
    assert row.model_dump(exclude={"mean_teacher", "encoder"}) == common.model_dump(exclude={"mean_teacher", "encoder"})


def test_a_list_in_a_row_replaces_the_common_one(tmp_path):
    settings = load("busi", changed(tmp_path, {"train.rows.gt_whole": {"decoder_channels": [16, 16, 16, 16, 16]}}))
    assert settings.row("gt_whole").decoder_channels == [16] * 5


@pytest.mark.parametrize(
    "action",
    [
        "import bench.settings as s; s.load('busi')",
        "import bench.stages.tables",
        "import bench.methods as m; m.methods()",
    ],
)
def test_settings_methods_and_tables_need_neither_torch_nor_dvc(action):
    code = f"import sys; {action}; sys.exit(', '.join({{'torch', 'dvc'}} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_baseline_has_the_recipe_of_pseudo_whole_and_its_own_changes(tmp_path):
    changes = {
        "train.rows.pseudo_whole": {"encoder": "resnet18", "optimisation": {"epochs": 5}},
        "train.rows.amr": {"optimisation": {"epochs": 7}},
    }
    settings = load("busi", changed(tmp_path, changes))
    assert (settings.row("amr").encoder, settings.row("amr").optimisation.epochs) == ("resnet18", 7)
    assert settings.row("resnet50_cam") == settings.row("pseudo_whole")
    assert settings.row("gt_whole") == settings.train.common


def test_an_oracle_threshold_needs_a_crf_that_cuts(tmp_path):
    message = refusal(tmp_path, {"oracle": ["amr"], "crf.parameters": "deeplab"})
    assert message == "busi: oracle needs a CRF with a threshold; deeplab takes soft labels"
