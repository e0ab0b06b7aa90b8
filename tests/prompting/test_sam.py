"""SAM: the official predictor's masks, and one plain sentence for every bad checkpoint."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Block

import bench.fetch
from bench.errors import UserError
from bench.fetch import Artefact
from bench.prompting import Box, Prompt
from bench.prompting.kinds import make_segmenter
from bench.prompting.sam import BATCH_TOKENS, CHECKPOINTS, SamSegmenter
from tests.http_server import LocalServer

BOX = (12, 9, 50, 40)
TINY_TOKENS = 16


def make(checkpoint: Path | None, weights: Path = Path("unused"), variant: str = "vit_b", **more: Any) -> SamSegmenter:
    made = make_segmenter("sam", variant=variant, checkpoint=checkpoint, weights=weights, device="cpu", **more)
    assert isinstance(made, SamSegmenter)
    return made


def scene(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def tiny_sam(checkpoint: None = None, width: int = 16) -> Sam:
    """The official architecture in miniature: 64-pixel input, one block."""
    return Sam(
        ImageEncoderViT(
            img_size=64,
            embed_dim=width,
            depth=1,
            num_heads=2,
            out_chans=32,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            global_attn_indexes=(0,),
        ),
        PromptEncoder(embed_dim=32, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=32),
        ),
    ).eval()


def randomised(model: Sam) -> Sam:
    """Random values of a size that lets masks have both classes."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.5))
    return model


def official_mask(model: Sam, image: np.ndarray, box: Box = BOX) -> np.ndarray:
    predictor = SamPredictor(model)
    predictor.set_image(image)
    mask: np.ndarray = predictor.predict(box=np.array(box), multimask_output=False)[0][0]
    return mask


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


def served(file: str, server: LocalServer) -> Artefact:
    content = server.files["/sam.pth"]
    sha256 = hashlib.sha256(content).hexdigest()
    return Artefact(file, (server.url("/sam.pth"),), sha256, len(content), "Apache-2.0")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Sam:
    """A tiny model with random values; "vit_b" builds its like."""
    monkeypatch.setitem(sam_model_registry, "vit_b", tiny_sam)
    return randomised(tiny_sam())


def test_the_table_names_the_official_files() -> None:
    assert list(CHECKPOINTS) == ["vit_h", "vit_l", "vit_b"]
    for variant, artefact in CHECKPOINTS.items():
        assert artefact.file.startswith(f"sam_{variant}_")
        assert artefact.urls == (f"https://dl.fbaipublicfiles.com/segment_anything/{artefact.file}",)
        assert artefact.sha256 is not None
        assert len(artefact.sha256) == 64
        assert artefact.size is not None
        assert artefact.licence == "Apache-2.0"


def test_the_mask_is_the_official_predictors(tiny: Sam, tmp_path: Path) -> None:
    segmenter = make(saved(tiny.state_dict(), tmp_path / "tiny.pth"))
    mask = segmenter.segment(scene(), BOX)
    assert segmenter.name == "SAM ViT-B"
    assert mask.shape == (60, 90)
    assert mask.dtype == np.bool_
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(mask, official_mask(tiny, scene()))


@pytest.mark.parametrize("kept", [torch.float32, torch.float16])
def test_loading_draws_no_values_and_computes_in_float32(tiny: Sam, tmp_path: Path, kept: torch.dtype) -> None:
    """Values drawn for a ViT-H take longer than its file, and lie beside it in the memory."""
    state = {name: tensor.to(kept) for name, tensor in tiny.state_dict().items()}
    before = torch.get_rng_state()
    segmenter = make(saved(state, tmp_path / "tiny.pth"))
    assert torch.equal(torch.get_rng_state(), before)
    tiny.load_state_dict(state)
    assert np.array_equal(segmenter.segment(scene(), BOX), official_mask(tiny, scene()))


def test_a_download_is_verified_loaded_and_kept(tiny: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(tiny.state_dict(), tmp_path / "tiny.pth").read_bytes()
    with LocalServer({"/sam.pth": content}) as server:
        monkeypatch.setitem(CHECKPOINTS, "vit_b", served("sam.pth", server))
        masks = [make(None, tmp_path / "weights").segment(scene(), BOX) for _ in range(2)]
        assert server.count["/sam.pth"] == 1
    assert np.array_equal(masks[0], masks[1])
    assert (tmp_path / "weights" / "sam.pth").read_bytes() == content


def test_a_download_with_another_hash_is_refused(tiny: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer({"/sam.pth": saved(tiny.state_dict(), tmp_path / "tiny.pth").read_bytes()}) as server:
        monkeypatch.setitem(CHECKPOINTS, "vit_b", replace(served("sam.pth", server), sha256="0" * 64))
        with pytest.raises(UserError, match="SHA-256"):
            make(None, tmp_path / "weights")


def prompts() -> list[Prompt]:
    """Images of several sizes, square and larger than the input among them; boxes at borders and of one pixel."""
    sizes_and_boxes: list[tuple[tuple[int, int], Box]] = [
        ((60, 90), BOX),
        ((90, 60), (0, 0, 30, 89)),
        ((64, 64), (0, 0, 63, 63)),
        ((200, 130), (100, 150, 129, 199)),
        ((60, 90), (89, 59, 89, 59)),
    ]
    rng = np.random.default_rng(3)
    return [(rng.integers(0, 256, (*size, 3), dtype=np.uint8), box) for size, box in sizes_and_boxes]


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_batches_of_any_sizes_give_the_official_masks_in_order(
    tiny: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setitem(BATCH_TOKENS, "cpu", batch * TINY_TOKENS)
    segmenter = make(saved(tiny.state_dict(), tmp_path / "tiny.pth"))
    taken = []
    masks = segmenter.segment_all(taken.append(None) or prompt for prompt in prompts())
    first = next(masks)
    assert len(taken) == min(batch, len(prompts()))
    for mask, (image, box) in zip([first, *masks], prompts(), strict=True):
        expected = official_mask(tiny, image, box)
        assert mask.shape == image.shape[:2]
        assert (mask & expected).sum() > 0.99 * (mask | expected).sum()
        assert 0 < mask.sum() < mask.size


def test_nothing_to_segment_gives_nothing(tiny: Sam, tmp_path: Path) -> None:
    assert list(make(saved(tiny.state_dict(), tmp_path / "tiny.pth")).segment_all([])) == []


def encoded_images(counted: list[int]) -> Any:
    """A hook that counts images that pass the encoder."""
    return torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, _: counted.append(len(given[0])) if isinstance(module, Block) else None
    )


def test_kept_embeddings_give_the_same_masks_and_spare_the_encoder(
    tiny: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 2 * TINY_TOKENS)
    path, counted = saved(tiny.state_dict(), tmp_path / "tiny.pth"), []
    hook = encoded_images(counted)
    try:
        runs = [[prompts()[2]], prompts(), prompts(), [(image, (3, 3, 40, 40)) for image, _ in prompts()]]
        kept = [list(make(path, cache=tmp_path / "kept").segment_all(run)) for run in runs]
        assert [counted.count(2), len(counted)] == [4, 4]  # one batch, then three with the other images, then none
    finally:
        hook.remove()
    cold = list(make(path, cache=tmp_path / "other").segment_all(prompts()))
    assert all(np.array_equal(one, other) for one, other in zip(kept[1], kept[2], strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(kept[1], cold, strict=True))
    assert np.array_equal(kept[0][0], kept[1][2])
    assert not np.array_equal(kept[2][0], kept[3][0])


def test_an_embedding_does_not_depend_on_its_company(tiny: Sam, tmp_path: Path) -> None:
    segmenter = make(saved(tiny.state_dict(), tmp_path / "tiny.pth"))
    images = [image for image, _ in prompts()]
    together = segmenter._embed(images)
    for position, image in enumerate(images):
        assert torch.equal(segmenter._embed([image])[0], together[position])


def test_bf16_is_the_image_encoders(tiny: Sam, tmp_path: Path) -> None:
    path = saved(tiny.state_dict(), tmp_path / "tiny.pth")
    exact, near = (make(path, precision=precision)._embed([scene()]) for precision in ("fp32", "bf16"))
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("box", [(0, 0, 89, 59), (40, 20, 40, 20), (40, 0, 40, 59), (89, 59, 89, 59)])
def test_degenerate_boxes_give_a_mask(tiny: Sam, tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    mask = make(saved(tiny.state_dict(), tmp_path / "tiny.pth")).segment(scene(), box)
    assert mask.shape == (60, 90)


def test_wrong_prompts_are_refused(tiny: Sam, tmp_path: Path) -> None:
    segmenter = make(saved(tiny.state_dict(), tmp_path / "tiny.pth"))
    with pytest.raises(ValueError, match="image must be uint8"):
        segmenter.segment(scene()[..., 0], BOX)
    with pytest.raises(ValueError, match="not ordered or leaves the image"):
        segmenter.segment(scene(), (0, 0, 90, 10))


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown SAM variant 'vit_t' - choose one of vit_h, vit_l, vit_b, phantom"):
        make(None, variant="vit_t")


def refusal(checkpoint: Path, variant: str = "vit_b") -> str:
    with pytest.raises(UserError) as caught:
        make(checkpoint, variant=variant)
    message = str(caught.value)
    assert str(checkpoint) in message
    assert "\n" not in message
    assert len(message) < 110 + 2 * len(str(checkpoint)) + 110
    return message


def test_damaged_files_are_named(tiny: Sam, tmp_path: Path) -> None:
    whole = saved(tiny.state_dict(), tmp_path / "whole.pth").read_bytes()
    for name, content in {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "zeros": bytes(5000),
        "random": np.random.default_rng(0).bytes(5000),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert "is damaged or no checkpoint of PyTorch" in refusal(path)


def test_a_checkpoint_that_would_run_code_is_not_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    assert "is damaged or no checkpoint of PyTorch" in refusal(saved({"evil": Evil()}, tmp_path / "evil.pth"))
    assert not marker.exists()


def test_another_variants_file_is_named_with_both_variants(tmp_path: Path) -> None:
    path = saved({"image_encoder.pos_embed": torch.zeros(1, 1, 1, 1280)}, tmp_path / "sam.pth")
    assert refusal(path) == f"{path} holds SAM ViT-H, not SAM ViT-B - set the variant to vit_h"


def test_other_networks_files_are_named(tiny: Sam, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = tiny.state_dict()
    first, *others = state
    missing = {name: state[name] for name in others}
    for other in (
        missing,
        state | {"more": torch.zeros(1)},
        tiny_sam(width=8).state_dict(),
        {"model": state},
        {},
        state | {"more": "text"},
        state | {5: torch.zeros(1)},
        state | {first: state[first].int()},
        state | {first: state[first].to_sparse()},
        state | {first: state[first].to("meta")},
    ):
        assert "is not a SAM ViT-B checkpoint" in refusal(saved(other, path))
    assert "1 tensors are missing" in refusal(saved(missing, path))
    assert "holds no state dict but a Tensor" in refusal(saved(torch.zeros(3), path))


def test_a_missing_checkpoint_is_named_with_its_official_address(tmp_path: Path) -> None:
    message = refusal(tmp_path / "absent.pth", variant="vit_h")
    assert "is missing - put a SAM ViT-H checkpoint there" in message
    assert message.endswith("https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth")


def test_weights_that_cannot_be_downloaded_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.fetch, "BACKOFF_SECONDS", 0.0)
    url = "http://127.0.0.1:9/sam_vit_b_01ec64.pth"
    monkeypatch.setitem(CHECKPOINTS, "vit_b", replace(CHECKPOINTS["vit_b"], urls=(url,)))
    with pytest.raises(UserError) as caught:
        make(None, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("sam_vit_b_01ec64.pth", url, str(tmp_path)):
        assert part in message


@pytest.mark.slow
def test_a_checkpoint_of_the_official_format_goes_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sam_model_registry["vit_b"]()
    path = saved(model.state_dict(), tmp_path / "made.pth")
    with LocalServer({"/sam.pth": path.read_bytes()}) as server:
        path.unlink()
        monkeypatch.setitem(CHECKPOINTS, "vit_b", served("sam_vit_b_01ec64.pth", server))
        segmenter = SamSegmenter("vit_b", None, tmp_path, "cpu")
    loaded = segmenter._model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    # All twelve blocks take a minute on a busy machine; the third is the first with global attention.
    for one in (loaded, model):
        one.image_encoder.blocks = one.image_encoder.blocks[:3]
    mask = segmenter.segment(scene(), BOX)
    assert mask.shape == (60, 90)
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(mask, official_mask(model, scene()))
