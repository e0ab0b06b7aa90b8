"""The network: the official classes at small sizes, attention and decoding the same up to rounding."""

import copy

import pytest
import torch
from segment_anything import sam_model_registry

from bench.prompting.sam_model import build_sam, decode, encode, use_fused_attention
from bench.runtime import Context
from bench.schema import SamSizes

FP32, BF16 = (Context(torch.device("cpu"), bf16) for bf16 in (False, True))


def sizes(**changes: object) -> SamSizes:
    values = {
        "image_size": 48,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "heads": 2,
        "window": 4,  # 6 tokens a side, so that the second window is padded
        "global_blocks": [1],
        "prompt_dim": 16,
        "decoder_mlp": 16,
    }
    return SamSizes.model_validate(values | changes)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Values of a size that lets attention prefer some tokens, relative positions included."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return model


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return randomised(build_sam(sizes()))


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def test_names_and_ranks_are_those_of_the_official_checkpoints():
    with torch.device("meta"):
        official = sam_model_registry["vit_b"](checkpoint=None).state_dict()
    ours = build_sam(sizes(depth=12, global_blocks=[2, 5, 8, 11])).state_dict()
    assert {name: value.ndim for name, value in ours.items()} == {name: value.ndim for name, value in official.items()}


@torch.no_grad()
def test_fused_attention_gives_the_official_embeddings(model, pixels):
    official = model.image_encoder(pixels)
    fused = encode(use_fused_attention(copy.deepcopy(model)), pixels, FP32)
    assert official.std() > 0.1
    torch.testing.assert_close(fused, official, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_positions_matter_to_fused_attention(model, pixels):
    without = use_fused_attention(copy.deepcopy(model))
    for block in without.image_encoder.blocks:
        block.attn.rel_pos_w.zero_()
    assert not torch.allclose(encode(without, pixels, FP32), model.image_encoder(pixels), atol=1e-2)


@torch.no_grad()
def test_bf16_embeddings_come_as_float32_and_are_near(model, pixels):
    near = encode(use_fused_attention(copy.deepcopy(model)), pixels, BF16)
    exact = model.image_encoder(pixels)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.std()


@torch.no_grad()
def test_a_batch_of_boxes_is_decoded_as_the_official_decoder_does_one_by_one(model, pixels):
    embeddings = model.image_encoder(pixels)
    boxes = torch.tensor([[0.0, 0.0, 47.0, 47.0], [5.0, 9.0, 20.0, 30.0], [40.0, 3.0, 40.0, 44.0]])
    logits, quality = decode(model, embeddings, boxes)
    assert logits.shape == (3, 24, 24)
    for position in range(3):
        corners, dense = model.prompt_encoder(points=None, boxes=boxes[position : position + 1], masks=None)
        expected = model.mask_decoder(
            image_embeddings=embeddings[position : position + 1],
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=corners,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        torch.testing.assert_close(logits[position], expected[0][0, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(quality[position], expected[1][0, 0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], atol=0.1)
