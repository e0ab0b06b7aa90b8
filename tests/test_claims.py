"""The paper's sentences: in its own numbers, and in made-up ones of ours."""

import numpy as np
import pandas as pd
import pytest

from bench.claims import (
    CLAIMS,
    SELECTED,
    UNSELECTED,
    Claim,
    Finding,
    Vocabulary,
    claims_frame,
    judge_claims,
    load_claims,
)
from bench.errors import UserError
from bench.methods import methods
from bench.rows import OURS, ROWS, method_rows
from tests.counts import counts_of

VOCABULARY = Vocabulary(ROWS, [row for row in method_rows(methods()) if row.paper])
PAPER = {row.id: row.paper for row in (*VOCABULARY.ablation, *VOCABULARY.baselines)}
# What the pseudo-masks reach where everything is as the paper says; it prints no number.
PSEUDO = {SELECTED: (60.0, 95.0, 77.5), UNSELECTED: (40.0, 92.0, 66.0)}
INCONSISTENT = {"each_class_80_20", "miou_is_the_mean"}


def as_the_paper(noise: float = 4.0, seed: int = 0, images: int = 129, **changed: float) -> pd.DataFrame:
    """Counts of every row with the paper's IoUs as means, or with a tumour IoU that is `changed`."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 8, images)
    parts = []
    for row, (tumor, background, _) in {**PAPER, **PSEUDO}.items():
        own = rng.normal(0, noise, images)
        ious = changed.get(row, tumor) + (difficulty - difficulty.mean()) + (own - own.mean())
        parts.append(counts_of(row, np.clip(ious, 0, 99), background, seed))
    return pd.concat(parts)


def judged(per_image: pd.DataFrame, *only: str, **options: str) -> dict[str, Finding]:
    claims = [claim for claim in load_claims() if not only or claim.id in only]
    return {finding.claim.id: finding for finding in judge_claims(claims, per_image, VOCABULARY, **options)}


@pytest.fixture(scope="module")
def faithful() -> dict[str, Finding]:
    """The claims where ours are the paper's numbers."""
    return judged(as_the_paper())


def test_the_papers_sentences_follow_from_its_tables_but_for_two(faithful):
    wrong = {name for name, finding in faithful.items() if finding.paper_holds is False}
    assert wrong == INCONSISTENT
    assert [name for name, finding in faithful.items() if finding.paper_holds is None] == [
        "unselected_labels_are_worse"
    ]


def test_the_numbers_that_the_paper_quotes_are_computed_from_its_tables(faithful):
    quoted = {
        name: finding.paper_says for name, finding in faithful.items() if finding.claim.by and finding.claim.op == ">"
    }
    assert quoted == {
        "share_of_supervised": "82.9",
        "gain_in_tumor_iou": "7.8",
        "gain_in_miou": "3.7",
        "lead_in_tumor_iou": "19.1",
        "lead_in_miou": "9.5",
    }


def test_the_inconsistencies_are_named(faithful):
    assert faithful["miou_is_the_mean"].paper_says == "swin_mil: 57.6 against 57.35"
    assert faithful["each_class_80_20"].paper_says == "benign: 357 against 349.6; malignant: 161 against 168"
    assert faithful["whole_set_80_20"].paper_holds


def test_a_faithful_reproduction_holds_in_every_sentence_about_rows(faithful):
    assert {name for name, finding in faithful.items() if finding.verdict != "holds"} == INCONSISTENT
    share = faithful["share_of_supervised"].ours
    assert share.value == pytest.approx(82.9, abs=0.1)
    assert share.images[0] < 82.9 < share.images[1]


def test_a_method_that_does_not_work_fails():
    found = judged(as_the_paper(pseudo_mean_teacher=30.0))
    failed = {name for name, finding in found.items() if finding.verdict == "fails"}
    assert failed - INCONSISTENT == {
        "share_of_supervised",
        "surpasses_the_others",
        "mean_teacher_lifts_pseudo",
        "mean_teacher_lifts_pseudo_more",
        "gain_in_tumor_iou",
        "gain_in_miou",
        "better_than_subset_and_whole",
        "lead_in_tumor_iou",
        "lead_in_miou",
        "outperforms_six_methods",
    }
    assert found["subset_lowers_pseudo"].verdict == "holds"


def test_a_small_gain_holds_in_order_and_fails_in_size():
    found = judged(as_the_paper(pseudo_mean_teacher=51.0), "better_than_subset_and_whole", "gain_in_tumor_iou")
    assert found["better_than_subset_and_whole"].verdict == "holds"
    assert found["gain_in_tumor_iou"].verdict == "fails"


def test_a_larger_gain_than_the_papers_holds():
    assert judged(as_the_paper(pseudo_mean_teacher=65.0), "gain_in_tumor_iou")["gain_in_tumor_iou"].verdict == "holds"


def test_what_the_images_leave_open_cannot_be_told():
    found = judged(as_the_paper(pseudo_whole=36.0, noise=15.0), "subset_lowers_pseudo")["subset_lowers_pseudo"]
    assert found.verdict == "cannot tell"
    assert found.reason == "the interval includes 0"


def test_seeds_that_say_something_else_than_images_leave_it_open():
    agreeing = pd.concat([as_the_paper(seed=seed) for seed in range(3)])
    found = judged(agreeing, "gain_in_tumor_iou")["gain_in_tumor_iou"]
    assert found.ours.seeds is not None
    assert found.verdict == "holds"
    swinging = pd.concat([as_the_paper(seed=seed, pseudo_whole=tumor) for seed, tumor in enumerate((30.0, 48.5, 55.0))])
    found = judged(swinging, "better_than_subset_and_whole")["better_than_subset_and_whole"]
    assert (found.verdict, found.reason) == ("cannot tell", "images and seeds disagree")


@pytest.mark.parametrize("claim", ["lead_in_tumor_iou", "second_highest_background"])
def test_a_row_that_did_not_run_is_named(claim):
    per_image = as_the_paper()
    found = judged(per_image[~per_image["row"].isin(["recam", "oaa_cam"])], claim, "gain_in_tumor_iou")
    assert (found[claim].verdict, found[claim].ours) == ("cannot tell", None)
    assert found[claim].reason == "row missing: oaa_cam, recam"
    assert found["gain_in_tumor_iou"].verdict == "holds"


def test_rows_without_a_common_seed_are_not_compared():
    per_image = as_the_paper()
    per_image.loc[per_image["row"] == OURS.id, "split_seed"] = 1
    assert judged(per_image, "gain_in_tumor_iou")["gain_in_tumor_iou"].reason == "row missing: no run has them all"


def test_too_few_images_cannot_tell():
    found = judged(as_the_paper(images=5), "gain_in_tumor_iou")["gain_in_tumor_iou"]
    assert (found.verdict, found.reason) == ("cannot tell", "too few images")


def test_a_share_of_nothing_is_not_defined():
    nothing = as_the_paper()
    gone = nothing["row"] == "gt_whole"
    nothing.loc[gone, "fn"] += nothing.loc[gone, "tp"]
    nothing.loc[gone, "tp"] = 0
    found = judged(nothing, "share_of_supervised")["share_of_supervised"]
    assert (found.verdict, found.reason) == ("cannot tell", "not defined")


def test_phantoms_are_not_compared_with_the_paper():
    found = judged(as_the_paper(), not_comparable="phantoms")
    assert {(finding.verdict, finding.reason, finding.ours) for finding in found.values()} == {
        ("not comparable", "phantoms", None)
    }
    assert {name for name, finding in found.items() if finding.paper_holds is False} == INCONSISTENT


def test_groups_of_near_duplicates_widen_the_interval():
    once = as_the_paper(images=60)
    copies = once.assign(id=[f"copy of {image}" for image in once["id"]])
    groups = {image: image.removeprefix("copy of ") for image in [*once["id"], *copies["id"]]}
    (claim,) = [claim for claim in load_claims() if claim.id == "gain_in_tumor_iou"]
    twice = pd.concat([once, copies])
    (plain,) = judge_claims([claim], twice, VOCABULARY)
    (grouped,) = judge_claims([claim], twice, VOCABULARY, groups=groups)
    assert np.ptp(grouped.ours.images) > 1.3 * np.ptp(plain.ours.images)


def claim(**changes: object) -> Claim:
    return Claim.model_validate(
        {"id": "c", "section": "s", "sentence": "t", "left": "gt_whole.miou", "op": ">", "right": 0, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"left": "gt_whole.tumor_iou", "right": "gt_subset.tumor_iou"}, True),
        ({"left": "gt_subset.tumor_iou", "right": "gt_whole.tumor_iou"}, False),
        ({"left": "gt_whole.tumor_iou", "right": "gt_subset.tumor_iou", "by": 11.6}, True),
        ({"left": "gt_whole.tumor_iou", "right": "gt_subset.tumor_iou", "by": 11.8}, False),
    ],
)
def test_a_sentence_that_the_papers_tables_deny_is_found(changes, holds):
    (found,) = judge_claims([claim(**changes)], pd.DataFrame(), VOCABULARY, not_comparable="phantoms")
    assert found.paper_holds == holds


@pytest.mark.parametrize("name", ["gt_hole.miou", "gt_whole.dice", "gt_whole", "table1.Z.total", "table1.N.miou"])
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(UserError, match=r"gt_hole|dice|gt_whole|table1"):
        judge_claims([claim(left=name)], as_the_paper(), VOCABULARY)


def test_no_claim_stands_twice_and_none_names_a_method_of_its_own():
    ids = [claim.id for claim in load_claims()]
    assert len(set(ids)) == len(ids)
    text = CLAIMS.read_text(encoding="utf-8")
    assert not [name for name in methods() if name in text]  # methods come and go; `baselines` are those that are there


def test_the_printed_claims_say_what_was_found(faithful):
    frame = claims_frame(list(faithful.values())).set_index("Claim")
    assert frame.loc["gain_in_tumor_iou", "Quoted"] == "7.8"
    assert frame.loc["gain_in_tumor_iou", "The paper's tables"] == "holds (7.8)"
    assert frame.loc["gain_in_tumor_iou", "95 % interval"].count(" to ") == 1
    assert frame.loc["each_class_80_20", "Verdict"] == "fails"
    assert frame.loc["unselected_labels_are_worse", "The paper's tables"] == "no number"
    assert "95 % interval, seeds" not in frame
    seeds = pd.concat([as_the_paper(seed=seed) for seed in range(2)])
    assert "95 % interval, seeds" in claims_frame(list(judged(seeds, "gain_in_miou").values()))
