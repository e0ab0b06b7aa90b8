"""Segment Anything's network: small sizes, fused attention, and batches of images with one box each."""

from functools import partial
from types import MethodType
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import get_rel_pos
from torch.nn import functional

from bench.runtime import Context
from bench.schema import SamSizes

# As in the official networks, which take them as given.
DECODER_DEPTH, DECODER_HEADS, MASK_CHANNELS = 2, 8, 16


def build_sam(sizes: SamSizes) -> torch.nn.Module:
    """The official classes at other sizes, with random values, in evaluation mode; names as in the official layout."""
    grid = sizes.image_size // sizes.patch_size
    encoder = ImageEncoderViT(
        img_size=sizes.image_size,
        patch_size=sizes.patch_size,
        embed_dim=sizes.embed_dim,
        depth=sizes.depth,
        num_heads=sizes.heads,
        out_chans=sizes.prompt_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.window,
        global_attn_indexes=tuple(sizes.global_blocks),
    )
    prompts = PromptEncoder(
        embed_dim=sizes.prompt_dim,
        image_embedding_size=(grid, grid),
        input_image_size=(sizes.image_size, sizes.image_size),
        mask_in_chans=MASK_CHANNELS,
    )
    decoder = MaskDecoder(
        transformer_dim=sizes.prompt_dim,
        transformer=TwoWayTransformer(
            depth=DECODER_DEPTH, embedding_dim=sizes.prompt_dim, num_heads=DECODER_HEADS, mlp_dim=sizes.decoder_mlp
        ),
        iou_head_hidden_dim=sizes.prompt_dim,
    )
    model: torch.nn.Module = Sam(encoder, prompts, decoder).eval()
    return model


def use_fused_attention(model: Any) -> Any:
    """Let the image encoder of a Sam attend through PyTorch's fused kernels; the same up to rounding. Returns `model`.

    The official forward holds every head's attention map (4096 x 4096 in the blocks without windows) several times.
    """
    for block in model.image_encoder.blocks:
        block.attn.forward = MethodType(_attend, block.attn)
    return model


def _attend(attention: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Self-attention over a grid of tokens, (B, H, W, C) -> (B, H, W, C), relative positions as an additive mask."""
    batch, height, width, _ = tokens.shape
    joined = attention.qkv(tokens).reshape(batch, height * width, 3, attention.num_heads, -1)
    query, key, value = joined.permute(2, 0, 3, 1, 4)
    bias = _position_bias(attention, query, height, width) if attention.use_rel_pos else None
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
    projected: torch.Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, height, width, -1))
    return projected


def _position_bias(attention: Any, query: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, heads, H * W, H * W): what the offset between two tokens adds to their score, its rows and columns apart."""
    batch, heads, count, _ = query.shape
    grid = query.reshape(batch, heads, height, width, -1)
    by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, get_rel_pos(height, height, attention.rel_pos_h))
    by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, get_rel_pos(width, width, attention.rel_pos_w))
    return (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).reshape(batch, heads, count, count)


def encode(model: Any, pixels: torch.Tensor, where: Context) -> torch.Tensor:
    """Image embeddings, float32 (B, C, h, w), of preprocessed images (B, 3, S, S)."""
    with where.autocast():
        embeddings: torch.Tensor = model.image_encoder(pixels)
    return embeddings.float()


def decode(model: Any, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask logits (B, 4h, 4w) and predicted IoUs (B) for one box on each of B images; one mask a prompt.

    embeddings: float32 (B, C, h, w). boxes: float32 (B, 4), x first, in pixels of the encoder's input.
    """
    corners, no_mask = model.prompt_encoder(points=None, boxes=boxes, masks=None)
    # The decoder adds one image's embedding to the dense embedding of every prompt. Without mask prompts the dense ones
    # are all alike, so changing places gives each box an image of its own.
    logits, quality = model.mask_decoder(
        image_embeddings=no_mask[:1],
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=corners,
        dense_prompt_embeddings=embeddings,
        multimask_output=False,
    )
    return logits[:, 0], quality[:, 0]
