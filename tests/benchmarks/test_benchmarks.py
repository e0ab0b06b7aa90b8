"""The benchmarks run and print ratios; how large they are is not a test's matter."""

import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from segment_anything import sam_model_registry

from bench.benchmarks import cams, crf, engines, sam, training
from bench.benchmarks.__main__ import main, stages, table
from bench.benchmarks.timing import Comparison
from bench.settings import PARAMS, load
from bench.sources import ROOT
from bench.timings import recorded
from tests.prompting.test_sam import tiny_sam


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUSI_ZIP", raising=False)


def test_the_ratio_is_plain_over_ours():
    line = table([Comparison("work", "slow", 3.0, "fast", 1.5)]).splitlines()[-1]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["work", "slow", "3.00", "fast", "1.50", "2.00"]


def test_every_benchmark_prints_a_ratio(monkeypatch, capsys):
    monkeypatch.setitem(sam_model_registry, "vit_b", tiny_sam)
    monkeypatch.setattr(sam, "TYPICAL_SIZE", (48, 40))
    monkeypatch.setattr(sam, "VARIANT", {"cpu": "vit_b"})
    monkeypatch.setattr(sam.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sam, "resolve", lambda precision, device: "bf16")
    monkeypatch.setattr(crf, "TYPICAL_SIZE", (48, 40))
    monkeypatch.setattr(cams, "SIZE", 32)
    monkeypatch.setattr(cams, "ROUNDS", 1)
    monkeypatch.setattr(training, "PROFILE", {"cpu": "phantom"})
    monkeypatch.setattr(training, "ROUNDS", 1)
    monkeypatch.setattr(engines, "EPOCHS", 1)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert main(["--images", "2"]) == 0
    output = capsys.readouterr().out
    assert "% of the masks' pixels agree" in output
    lines = output.splitlines()[-7:]
    assert lines[0].startswith("| DenseCRF, 2 phantoms ")
    assert lines[1].startswith("| CAMs, 2 images, ResNet18, 32 px ")
    assert lines[2].startswith("| SAM ViT-B, loading it ")
    for line, precision in zip(lines[3:5], ("fp32", "bf16"), strict=True):
        assert line.startswith("| SAM ViT-B, 2 images, 48 x 40, cpu ")
        assert f"| batches, fused attention, {precision} " in line
    full = load("phantom", ROOT / PARAMS).train.common.optimisation.batch_size
    assert lines[5].startswith(f"| resnet18 U-Net, 64 px, an epoch of {full} images, cpu ")
    assert lines[6].startswith("| 4 trainings of sam_phantom on 2 phantoms, 1 epochs ")
    assert all(re.search(r"\| \d+\.\d\d +\|$", line) for line in lines)


def test_training_is_also_compared_through_torch_compile(monkeypatch, capsys):
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(training, "resolve", lambda precision, device: "fp32")
    modes = []

    def ours(data, recipe, device, cores):
        modes.append(recipe.compile)
        return lambda count: [1.0] * count

    monkeypatch.setattr(training, "_ours", ours)
    monkeypatch.setattr(training, "_usual", lambda *arguments: lambda count: [3.0] * count)
    assert main(["training", "--compile", "default"]) == 0
    assert modes == [None, "default"]
    lines = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [(line[3].strip(), float(line[5])) for line in lines] == [
        ("on the device, fp32, NHWC", 3.0),
        ("on the device, fp32, NHWC, compiled (default)", 3.0),
    ]


def test_nothing_else_is_compiled(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--compile", "default"])
    assert caught.value.code == 2
    assert "--compile goes with training" in capsys.readouterr().err


def test_the_time_of_the_stages_is_shown_where_it_was_recorded():
    assert stages() == ""
    with recorded("phantom", "cams"):
        pass
    assert stages().startswith("\nphantom: 0 s in the stages that ran\n| stage ")


def test_the_archive_of_busi_is_used_without_its_masks(tmp_path, monkeypatch):
    file = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file)
    with zipfile.ZipFile(tmp_path / "busi.zip", "w") as archive:
        for name in ("benign/benign (1)", "benign/benign (1)_mask", "malignant/malignant (1)", "normal/normal (1)"):
            archive.write(file, f"Dataset_BUSI_with_GT/{name}.png")
    monkeypatch.setenv("BUSI_ZIP", str(tmp_path / "busi.zip"))
    kind, folder, ids = crf._images(tmp_path / "out", 9)
    assert (kind, ids) == ("BUSI images", ["benign (1)", "malignant (1)"])
    assert sorted(one.stem for one in folder.iterdir()) == ids


def test_a_damaged_archive_ends_with_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "busi.zip").write_text("no archive")
    monkeypatch.setenv("BUSI_ZIP", str(tmp_path / "busi.zip"))
    assert main(["crf"]) == 2
    assert "busi.zip is not a readable ZIP archive" in capsys.readouterr().err


def test_no_images_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--images", "0"])
    assert caught.value.code == 2
    assert "at least 1" in capsys.readouterr().err
