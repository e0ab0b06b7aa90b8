"""The settings that modules take, typed and validated. No defaults: params.yaml is the one place of values.

METHOD in comments means METHOD.md, which records the paper's gaps and the reading chosen for each.
"""

import itertools
from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.paths import SAM_PHANTOM
from bench.seeds import Seeds

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Width = Annotated[float, Field(gt=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
ImageSize = Annotated[int, Field(ge=32, multiple_of=32)]
# auto: bf16 where the processor or GPU has it, else fp32 (bench/precision.py).
Precision = Literal["fp32", "bf16", "auto"]
CompileMode = Literal["default", "reduce-overhead"]
Initialisation = Literal["imagenet", "none"]
# Table II; bench.rows says what each row is.
ABLATION = ("gt_whole", "gt_subset", "gt_mean_teacher", "pseudo_whole", "pseudo_subset", "pseudo_mean_teacher")


def each_once(message: str) -> AfterValidator:
    """Refuse a list that holds a value twice, with this message."""

    def refuse(values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError(message)
        return values

    return AfterValidator(refuse)


SEEDS_ONCE = each_once("a seed is listed twice; results of one seed count once")
NAMES_ONCE = each_once("a name is listed twice")


class Strict(BaseModel):
    """A block of settings: unknown keys, silently converted types, infinity and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Pretrained(Strict):
    """A network that starts from an ImageNet checkpoint of bench/artefacts.yaml, or from random weights."""

    initialisation: Initialisation

    @property
    @abstractmethod
    def architecture(self) -> str:
        """Name of the checkpoint that fits it."""

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint it starts from, None for random weights."""
        return self.architecture if self.initialisation == "imagenet" else None


class SeedAxes(Strict):
    """Every seed of the split is run with every seed of the training; the first of both is shown in figures."""

    split: Annotated[list[Seed], Field(min_length=1), SEEDS_ONCE]
    training: Annotated[list[Seed], Field(min_length=1), SEEDS_ONCE]

    @property
    def runs(self) -> list[Seeds]:
        """The pairs of seeds, in their order."""
        return [Seeds(*pair) for pair in itertools.product(self.split, self.training)]


class BusiData(Strict):
    """The BUSI data set (paper, section III-A)."""

    source: Literal["busi"]


class PhantomData(Strict):
    """Synthetic B-mode phantoms: how many of each class, from which seed."""

    source: Literal["phantom"]
    seed: Seed
    benign: Count
    malignant: Count
    normal: Count

    def counts(self) -> dict[str, int]:
        """Images per category."""
        return {"benign": self.benign, "malignant": self.malignant, "normal": self.normal}


class Prepare(Strict):
    """One square training size for all networks; evaluation is at the original size (METHOD 10c)."""

    image_size: ImageSize


class Audit(Strict):
    """When two images count as near-duplicates (METHOD part A).

    thumbnail: side in pixels of what is correlated. crop: the most that may be cut off the height and off the width of
    one of the two, as a share, tried in steps of 0.04. ncc: normalised cross-correlation above which a pair counts.
    """

    thumbnail: Annotated[int, Field(ge=8, le=128)]
    crop: Annotated[float, Field(ge=0.0, le=0.5)]
    ncc: Annotated[float, Field(gt=0.0, lt=1.0)]


class OwnFile(Strict):
    """A file of one's own and its SHA-256 (hex), so that another file under the same name is noticed."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Split(Strict):
    """Which images are trained on and which are tested on.

    protocol: `paper` draws Table I's class counts on BUSI and their proportions elsewhere; `grouped` comes as near to
    them as whole groups of near-duplicates allow. groups: a CSV file (id, group) instead of the audit's groups.
    """

    protocol: Literal["paper", "grouped"]
    groups: OwnFile | None

    @model_validator(mode="after")
    def _groups_are_used(self) -> "Split":
        if self.groups and self.protocol != "grouped":
            raise ValueError("groups without protocol: grouped would not be used; set groups: null")
        return self


class Augmentation(Strict):
    """Random flips (each with probability 0.5) and a uniform rotation in +-degrees (paper, section III-A)."""

    horizontal_flip: bool
    vertical_flip: bool
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)]


class Optimisation(Strict):
    """Adam with a constant learning rate (paper, section III-A; no schedule is stated, METHOD 10c)."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    betas: Annotated[list[Annotated[float, Field(ge=0.0, lt=1.0)]], Field(min_length=2, max_length=2)]
    weight_decay: NonNegative
    precision: Precision


class MethodSettings(Strict):
    """What every weakly supervised method's block holds.

    settle_batch_norm: once the weights are final, BatchNorm statistics are estimated anew on the un-augmented training
    images; without effect where they are fixed. compile: torch.compile's mode for network and losses, null for none.
    """

    optimisation: Optimisation
    augmentation: Augmentation
    settle_batch_norm: bool
    compile: CompileMode | None


class CamNetwork(Pretrained):
    """A classification ResNet that gives class activation maps (METHOD 1.1).

    encoder: "resnet8" has a block in each of three stages, without the fourth that the others have. width: factor of
    all channel numbers, 1 with ImageNet weights. cells: where `bench.cells.resnet_cams` puts enlarged maps, "official"
    (as if cells were spread evenly over the image, as `bench.cam.plain_cams` always does) or "centred".
    """

    encoder: Literal["resnet8", "resnet18", "resnet34", "resnet50"]
    width: Width
    output_stride: Literal[8, 16, 32]
    fixed_batch_norm: bool
    frozen_stem: bool
    cells: Literal["official", "centred"]

    @property
    def architecture(self) -> str:
        return self.encoder

    @model_validator(mode="after")
    def _pretrained(self) -> "CamNetwork":
        if self.initialisation == "none" and (self.fixed_batch_norm or self.frozen_stem):
            raise ValueError("fixed_batch_norm and frozen_stem need initialisation: imagenet")
        if self.initialisation == "imagenet" and self.encoder == "resnet8":
            raise ValueError("resnet8 has no ImageNet weights; set initialisation: none")
        if self.initialisation == "imagenet" and self.width != 1:
            raise ValueError("ImageNet weights need width: 1.0")
        if self.output_stride == 32 and self.encoder == "resnet8":
            raise ValueError("resnet8 has three stages; set output_stride: 16 or 8")
        return self


class VggNetwork(Pretrained):
    """A classification VGG16 that gives class activation maps (METHOD 3, 5.2).

    layout: `stride8` is OAA's network, `plain` Zhou's of stride 32. width: factor of all channel numbers.
    """

    layout: Literal["stride8", "plain"]
    width: Width
    batch_norm: bool

    @property
    def architecture(self) -> str:
        return "vgg16"

    @model_validator(mode="after")
    def _pretrained(self) -> "VggNetwork":
        if self.initialisation == "imagenet" and (self.width != 1 or self.batch_norm):
            raise ValueError("ImageNet weights need width: 1.0 and batch_norm: false")
        return self


class SwinNetwork(Pretrained):
    """The first three stages of a Swin transformer with side outputs (METHOD 4).

    embed_dim: channels of stage 1, doubled at each further one. stochastic_depth: rate at the last block, rising
    linearly from 0 at the first.
    """

    embed_dim: Count
    depths: Annotated[list[Count], Field(min_length=3, max_length=3)]
    heads: Annotated[list[Count], Field(min_length=3, max_length=3)]
    window: Annotated[int, Field(ge=2)]
    stochastic_depth: Annotated[float, Field(ge=0.0, lt=1.0)]

    @property
    def architecture(self) -> str:
        return "swin_t"

    @model_validator(mode="after")
    def _sizes(self) -> "SwinNetwork":
        for stage, heads in enumerate(self.heads):
            if self.embed_dim * 2**stage % heads:
                raise ValueError(f"{self.embed_dim * 2**stage} channels cannot be divided among {heads} heads")
        sizes = (self.embed_dim, self.depths, self.heads, self.window)
        if self.initialisation == "imagenet" and sizes != (96, [2, 2, 6], [3, 6, 12], 7):
            raise ValueError("ImageNet weights need Swin-T's sizes: 96, [2, 2, 6], [3, 6, 12] and window 7")
        return self


class Select(Strict):
    """Algorithm 1 and the rule that makes the subset L (METHOD 10a)."""

    cams: str
    alpha1: Annotated[float, Field(gt=0.0, lt=100.0)]
    alpha2: Annotated[float, Field(gt=0.0, lt=100.0)]
    iou_threshold: Fraction
    upper_level: Annotated[int, Field(ge=0, le=255)]
    rule: Literal["threshold", "top_fraction"]
    top_fraction: Annotated[float, Field(gt=0.0, le=1.0)]
    fallback: Literal["top_fraction", "none"]

    @model_validator(mode="after")
    def _nested(self) -> "Select":
        if self.alpha2 >= self.alpha1:
            raise ValueError(f"alpha2 ({self.alpha2}) must be smaller than alpha1 ({self.alpha1})")
        return self


class Pseudo(Strict):
    """Box prompt to pseudo-mask: the segmenter, and what an image without a ROI becomes (METHOD 7, 10c).

    variant: one of SAM's, or `phantom`, which the segmenter stage trains. precision: of SAM's image encoder; the rest
    is always fp32. embedding_cache: image embeddings are kept, rounded to float16; other boxes cost the decoder only.
    """

    segmenter: Literal["sam", "grabcut", "ellipse", "box"]
    variant: Literal["vit_h", "vit_l", "vit_b", "phantom"]
    checkpoint: OwnFile | None
    precision: Precision
    embedding_cache: bool
    without_roi: Literal["background", "skip"]

    @property
    def trained_here(self) -> bool:
        """Whether the segmenter is the small SAM of the segmenter stage."""
        return self.segmenter == "sam" and self.variant == "phantom"

    @property
    def shown(self) -> str:
        """The segmenter's name in lines of progress; the small SAM never passes for Segment Anything."""
        return SAM_PHANTOM if self.trained_here else self.segmenter

    @model_validator(mode="after")
    def _one_checkpoint(self) -> "Pseudo":
        if self.trained_here and self.checkpoint:
            raise ValueError("variant: phantom is trained by the segmenter stage; set checkpoint: null")
        return self


class SamSizes(Strict):
    """Sizes of a small SAM (METHOD A); image_size and window count pixels and tokens a side.

    The image encoder has `depth` blocks, of which `global_blocks` attend to the whole image and the others within
    windows. prompt_dim: channels of embedding, prompts and mask decoder; decoder_mlp: hidden channels of its MLPs.
    """

    image_size: Count
    patch_size: Count
    embed_dim: Count
    depth: Count
    heads: Count
    window: Count
    global_blocks: list[Annotated[int, Field(ge=0)]]
    prompt_dim: Annotated[int, Field(ge=16, multiple_of=16)]
    decoder_mlp: Count

    @model_validator(mode="after")
    def _fits(self) -> "SamSizes":
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
        if self.embed_dim % self.heads:
            raise ValueError(f"{self.embed_dim} channels cannot be divided among {self.heads} heads")
        if any(block >= self.depth for block in self.global_blocks):
            raise ValueError(f"global_blocks names a block beyond the {self.depth} of depth, which count from 0")
        return self


class Lesions(Strict):
    """Phantoms with lesions: how many of each class, from which seed."""

    seed: Seed
    benign: Count
    malignant: Count


class PhantomSam(Strict):
    """The small SAM of `pseudo.variant: phantom`: its sizes, its own phantoms, its training (METHOD A).

    held_out: phantoms on which the finished network is measured.
    """

    training: Lesions
    held_out: Lesions
    sizes: SamSizes
    optimisation: Optimisation

    @model_validator(mode="after")
    def _apart(self) -> "PhantomSam":
        if self.training.seed == self.held_out.seed:
            raise ValueError("held_out.seed must differ from training.seed; both would render the same phantoms")
        return self


class Crf(Strict):
    """CAM to pseudo-mask for the baselines: DenseCRF's parameter set, and where the CAM is cut (METHOD 5.3).

    official: the threshold of the method's original evaluation. otsu: each image's own, label-free. The sets psa_soft
    and deeplab take the CAM as soft labels: the threshold then decides only what stays of an image whose CRF is empty.
    """

    parameters: Literal["irn_label", "psa_soft", "deeplab"]
    threshold: Literal["official", "otsu"]

    @property
    def cuts(self) -> bool:
        """Whether the CRF starts from a CAM that was cut at the threshold."""
        return self.parameters == "irn_label"


class MeanTeacher(Strict):
    """Mean Teacher (paper, section II-C; METHOD 6.3)."""

    labelled_per_batch: Count
    consistency_weight: NonNegative
    ramp_fraction: Annotated[float, Field(gt=0.0, le=1.0)]
    consistency_on: Literal["all", "unlabelled"]
    teacher_noise: NonNegative
    teacher_noise_limit: NonNegative
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    ema_buffers: bool
    evaluated: Literal["student", "teacher"]


class Segmentation(Pretrained):
    """One row's segmentation training (paper, section II-C and III-A; METHOD 6).

    decoder_channels: from the coarsest resolution to the image's; four leave the encoder's last stage out, three
    its last two. width: factor of all channel numbers, the decoder's too, 1 with ImageNet weights. settle_batch_norm:
    as a classifier's, on all images that the row learns from. compile: torch.compile's mode for student and teacher,
    null for none.
    """

    encoder: Literal["resnet18", "resnet34", "resnet50"]
    decoder_channels: Annotated[list[Count], Field(min_length=3, max_length=5)]
    width: Width
    optimisation: Optimisation
    augmentation: Augmentation
    updates: Literal["per_v", "per_labelled"]
    settle_batch_norm: bool
    compile: CompileMode | None
    mean_teacher: MeanTeacher

    @property
    def architecture(self) -> str:
        return self.encoder

    def with_optimisation(self, **changes: Any) -> "Segmentation":
        """The same recipe with other values in its optimisation, which are not checked."""
        return self.model_copy(update={"optimisation": self.optimisation.model_copy(update=changes)})

    @model_validator(mode="after")
    def _width(self) -> "Segmentation":
        if self.initialisation == "imagenet" and self.width != 1:
            raise ValueError("ImageNet weights need width: 1.0")
        # Up to three channels are an image's or a class's, which no width changes.
        if self.width != 1 and min(self.decoder_channels) < 4:
            raise ValueError(f"width: {self.width:g} needs decoder_channels of 4 and more")
        # Maps that are joined are rounded apart, what takes them at once. An encoder's channels are multiples of 64.
        if any(channels * self.width % 1 for channels in (64, *self.decoder_channels)):
            raise ValueError(f"width: {self.width:g} times 64 and times decoder_channels must be whole numbers")
        return self

    @model_validator(mode="after")
    def _batch(self) -> "Segmentation":
        if self.mean_teacher.labelled_per_batch >= self.optimisation.batch_size:
            raise ValueError("mean_teacher.labelled_per_batch must be smaller than optimisation.batch_size")
        return self


class Train(Strict):
    """The recipe that all rows share, and what a row changes in it (a partial Segmentation).

    The rows of Table II that are listed run. A method of `cams` runs whether its changes are listed or not.
    """

    common: Segmentation
    rows: dict[str, dict[str, Any]]


class Noise(Strict):
    """The sweep of noise through Algorithm 1 (METHOD C): maps a sigma, and the sigmas in shares of the image's side."""

    maps: Count
    sigmas: Annotated[list[Annotated[float, Field(gt=0.0, le=0.5)]], Field(min_length=2)]

    @field_validator("sigmas")
    @classmethod
    def _ascending(cls, sigmas: list[float]) -> list[float]:
        if sigmas != sorted(set(sigmas)):
            raise ValueError("must ascend, each value once")
        return sigmas


class Controls(Strict):
    """Selections in the place of L (METHOD C), and the rows that are trained on each of them as on L."""

    selections: Annotated[list[Literal["random_subset", "noise_cam", "inverted", "oracle_subset"]], NAMES_ONCE]
    rows: Annotated[list[Literal["pseudo_subset", "pseudo_mean_teacher"]], NAMES_ONCE]
    noise: Noise


class Engine(Strict):
    """Where items run. `device` and `threads` are in the keys of networks: they change the last bits; the rest is not.

    kind: see bench.engine.choose. "finished" computes nothing; rows that are not in the run store are gaps
    (bench.stages.training).
    threads: processor cores of an item. gpus_per_item: the share of a GPU that an item takes when it computes on one.
    checkpoint_seconds: least time between two checkpoints of one training; 0 keeps one every epoch.
    """

    kind: Literal["auto", "inline", "processes", "ray", "finished"]
    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    gpus_per_item: Positive
    checkpoint_seconds: NonNegative

    @field_validator("gpus_per_item")
    @classmethod
    def _share(cls, share: float) -> float:
        if share > 1 and not share.is_integer():
            raise ValueError("a share of one GPU (up to 1) or a whole number of GPUs")
        return share
