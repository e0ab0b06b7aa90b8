"""What captions say of the ingredients."""

import pytest

from bench.captions import baseline_ingredients, ingredients, substitutes
from bench.prompting.sam import PHANTOM_NAME, TITLES
from bench.schema import Split
from bench.settings import Settings, load


def test_the_papers_profile_names_its_weights_and_segmenter():
    text = ingredients(load("busi"), "SAM ViT-H")
    assert "BUSI" in text and "SAM ViT-H" in text and "no pretrained" not in text and "phantom" not in text


@pytest.mark.parametrize("profile", ["busi-scratch", "busi-small", "phantom"])
def test_stand_ins_are_named(profile):
    text = ingredients(load(profile), "GrabCut (not SAM)")
    assert text.count("no pretrained weights") == 2
    assert "GrabCut (not SAM)" in text


def test_the_small_sam_is_not_said_to_be_sam():
    assert PHANTOM_NAME not in TITLES.values()
    text = ingredients(load("phantom"), PHANTOM_NAME)
    assert "box prompts to sam_phantom, a small SAM trained on other phantoms and their masks; split seed 0" in text


def test_phantoms_are_never_compared_with_the_paper():
    assert "never compared with the paper" in ingredients(load("phantom"), "box")


def test_a_split_by_groups_is_named():
    settings = load("busi")
    grouped = settings.model_copy(update={"split": Split(protocol="grouped", groups=None)})
    for text in (ingredients(grouped, "box"), baseline_ingredients(grouped)):
        assert "Split by whole groups of near-duplicate images." in text
    named = {"protocol": "grouped", "groups": {"file": "patients.csv", "sha256": "0" * 64}}
    patients = settings.model_copy(update={"split": Split.model_validate(named)})
    assert "Split by whole groups that split.groups names." in ingredients(patients, "box")
    assert "near-duplicate" not in ingredients(settings, "box")


def test_rows_with_settings_of_their_own_are_named():
    settings = load("busi")
    changed = settings.train.model_copy(update={"rows": {"gt_whole": {}, "gt_subset": {"updates": "per_labelled"}}})
    text = ingredients(settings.model_copy(update={"train": changed}), "box")
    assert "rows with settings of their own: gt_subset;" in f"{text};".replace(")", ";")


def test_table_3_names_the_stand_ins_under_the_papers_labels():
    text = baseline_ingredients(load("busi-small"))
    assert "vgg16_cam (stride8, width 0.25, batch norm, no pretrained weights, 15 epochs)" in text
    assert "swin_mil (embed dim 48, depths 1-1-2, no pretrained weights, 30 epochs)" in text
    assert "recam (resnet8, cells centred, no pretrained weights, 8 + 7 epochs)" in text
    assert "cut by Otsu's rule, DenseCRF irn_label" in text


def test_table_3_of_the_papers_profile_names_thresholds_and_weights():
    text = baseline_ingredients(load("busi"))
    assert "thresholds (0.2, 0.15, 0.3, 0.5, 0.21, 0.2)" in text
    assert "swin_mil (ImageNet weights, 60 epochs)" in text
    assert "width" not in text and "no pretrained" not in text and "cells" not in text


def changed(**blocks: dict) -> Settings:
    settings = load("busi")
    rows = {**settings.train.rows, **blocks.get("rows", {})}
    crf = settings.crf.model_copy(update=blocks.get("crf", {}))
    cams = {**settings.cams, "amr": {**settings.cams["amr"], **blocks.get("amr", {})}}
    train = settings.train.model_copy(update={"rows": rows})
    own = {name: getattr(settings, name).model_copy(update=blocks.get(name, {})) for name in ("select", "split")}
    return settings.model_copy(update={"train": train, "crf": crf, "cams": cams, **own})


def test_a_change_of_pseudo_whole_is_a_change_of_the_baselines_u_net():
    text = baseline_ingredients(changed(rows={"pseudo_whole": {"encoder": "resnet18", "optimisation": {"epochs": 9}}}))
    assert "U-Net with resnet18 (ImageNet weights, 9 epochs)" in text
    text = baseline_ingredients(changed(rows={"pseudo_whole": {"decoder_channels": [64, 32, 16, 16]}}))
    assert "U-Net with resnet50 without its last stage (ImageNet weights, 60 epochs)" in text
    text = baseline_ingredients(changed(rows={"pseudo_whole": {"decoder_channels": [64, 32, 16]}}))
    assert "U-Net with resnet50 without its last two stages (ImageNet weights, 60 epochs)" in text
    text = baseline_ingredients(changed(rows={"amr": {"encoder": "resnet18"}}))
    assert "rows with settings of their own: amr)" in text
    text = baseline_ingredients(changed(rows={"pseudo_whole": {"width": 0.5, "initialisation": "none"}}))
    assert "U-Net with resnet50 (width 0.5, no pretrained weights, 60 epochs)" in text


def test_a_narrow_unet_stands_in_the_place_of_the_papers():
    settings = load("busi")
    common = settings.train.common.model_copy(update={"width": 0.5, "initialisation": "none"})
    narrow = settings.model_copy(update={"train": settings.train.model_copy(update={"common": common})})
    assert substitutes(narrow, "SAM ViT-H", ["threshold"]) == [
        "without pretrained weights",
        "a U-Net with 50 % of the usual channels",
    ]


AMR = load("busi").cams["amr"]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({}, []),
        ({"rows": {"gt_whole": {"optimisation": {"batch_size": 24}}}}, ["batches of 24 instead of 32"]),
        ({"rows": {"gt_subset": {"encoder": "resnet18"}}}, ["a U-Net with resnet18 instead of resnet50"]),
        ({"amr": {"network": {**AMR["network"], "encoder": "resnet18"}}}, ["AMR with resnet18 instead of resnet50"]),
        ({"amr": {"network": {**AMR["network"], "width": 0.5}}}, ["AMR with 50 % of the usual channels"]),
        ({"amr": {"network": {**AMR["network"], "initialisation": "none"}}}, ["without pretrained weights"]),
        (
            {"amr": {"optimisation": {**AMR["optimisation"], "epochs": 15, "learning_rate": 0.01}}},
            ["15 epochs instead of 60", "learning rates of 0.01 instead of 0.001"],
        ),
        (
            {"select": {"cams": "vgg16_cam"}},
            ["CAMs of vgg16_cam instead of AMR's", "learning rates of 0.0001 instead of 0.001"],
        ),
        ({"select": {"alpha1": 10.0, "alpha2": 7.0}}, ["alphas of 7 and 10 % instead of 1 and 2.5 %"]),
        ({"select": {"iou_threshold": 0.8}}, ["a box IoU above 0.8 instead of 0.7"]),
        ({"select": {"upper_level": 255}}, ["CAMs cut off at 255 instead of 250"]),
        ({"split": {"protocol": "grouped"}}, ["a split by groups of images instead of by class"]),
    ],
)
def test_whatever_is_not_the_papers_is_said_to_stand_in_its_place(blocks, said):
    assert substitutes(changed(**blocks), "SAM ViT-H", ["threshold"]) == said


def test_a_subset_by_rank_is_not_the_papers_even_as_a_fallback():
    for rules, said in (
        (["threshold"], []),
        (["threshold", "top_fraction"], ["L made by rank instead of by threshold"]),
    ):
        assert substitutes(load("busi"), "SAM ViT-H", rules) == said


def test_soft_labels_are_not_said_to_be_cut():
    text = baseline_ingredients(changed(crf={"parameters": "psa_soft"}))
    assert "CAMs not cut but taken as soft labels, DenseCRF psa_soft" in text


def test_both_stages_of_amr_are_counted():
    assert "amr (resnet50, ImageNet weights, 60 + 60 epochs)" in baseline_ingredients(
        changed(amr={"training": "two_stage"})
    )
