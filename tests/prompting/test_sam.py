"""SAM: the official predictor's mask, and one plain sentence for every bad checkpoint."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Block

import bench.fetch
from bench.errors import UserError
from bench.fetch import Artefact
from bench.prompting import Segmenter, make_segmenter
from bench.prompting.sam import CHECKPOINTS, SamSegmenter
from tests.http_server import LocalServer

BOX = (12, 9, 50, 40)


def make(checkpoint: Path | None, weights: Path = Path("unused"), variant: str = "vit_b") -> Segmenter:
    return make_segmenter("sam", variant=variant, checkpoint=checkpoint, weights=weights, device="cpu")


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


def official_mask(model: Sam, image: np.ndarray) -> np.ndarray:
    predictor = SamPredictor(model)
    predictor.set_image(image)
    mask: np.ndarray = predictor.predict(box=np.array(BOX), multimask_output=False)[0][0]
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


def test_several_boxes_on_one_image_encode_it_once(tiny: Sam, tmp_path: Path) -> None:
    path = saved(tiny.state_dict(), tmp_path / "tiny.pth")
    segmenter = make(path)
    encoded = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: encoded.append(1) if isinstance(module, Block) else None
    )
    try:
        image = scene()
        segmenter.segment(image, (0, 0, 5, 5))
        again = segmenter.segment(image.copy(), BOX)
        assert len(encoded) == 1
        image[:] = scene(1)
        changed = segmenter.segment(image, BOX)
        assert len(encoded) == 2
        segmenter.segment(np.ascontiguousarray(image.reshape(90, 60, 3)), BOX)
        assert len(encoded) == 3
    finally:
        hook.remove()
    assert np.array_equal(again, make(path).segment(scene(), BOX))
    assert np.array_equal(changed, make(path).segment(scene(1), BOX))


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
    with pytest.raises(UserError, match="unknown SAM variant 'vit_t' - choose one of vit_h, vit_l, vit_b"):
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
    missing = dict(list(state.items())[1:])
    for other in (
        missing,
        state | {"more": torch.zeros(1)},
        tiny_sam(width=8).state_dict(),
        {"model": state},
        {},
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
    loaded = segmenter._predictor.model
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    # All twelve blocks take a minute on a busy machine; the third is the first with global attention.
    for one in (loaded, model):
        one.image_encoder.blocks = one.image_encoder.blocks[:3]
    mask = segmenter.segment(scene(), BOX)
    assert mask.shape == (60, 90)
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(mask, official_mask(model, scene()))
