"""The ImageNet checkpoints that the networks start from, and how to obtain them."""

from pathlib import Path

from bench.errors import UserError
from bench.fetch import Artefact, fetch

BASE = "https://download.pytorch.org/models/"


def _torchvision(file: str, sha256: str, size: int | None) -> Artefact:
    licence = "BSD-3-Clause (torchvision), trained on ImageNet-1k"
    return Artefact(file=file, urls=(BASE + file,), sha256=sha256, size=size, licence=licence)


# METHOD 8.5: IMAGENET1K_V1 throughout; the V2 recipe of ResNet50 is known to give worse activation maps.
# Only the prefix of Swin-T's hash, which is part of its name, is published.
IMAGENET: dict[str, Artefact] = {
    "resnet18": _torchvision(
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        46_830_571,
    ),
    "resnet34": _torchvision(
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        87_319_819,
    ),
    "resnet50": _torchvision(
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
    ),
    "vgg16": _torchvision(
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
    ),
    "swin_t": _torchvision("swin_t-704ceda3.pth", "704ceda3", None),
}


def checkpoint(name: str, folder: Path) -> Path:
    """Return the path in `folder` of the ImageNet checkpoint `name`, downloading it first when needed.

    `name` is a key of IMAGENET. Raises UserError for an unknown name and as bench.fetch.fetch does.
    """
    if name not in IMAGENET:
        raise UserError(f"no ImageNet weights are known for {name!r} - use one of {', '.join(IMAGENET)}")
    return fetch(IMAGENET[name], folder)
