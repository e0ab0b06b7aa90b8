"""Kept embeddings: warm or cold the same, safe from crashes, bounded."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.prompting import embeddings
from bench.prompting.embeddings import INDEX, PACK, Embeddings, network_key
from bench.runtime import Context

SHAPE = (2, 3, 3)
ROW_BYTES = 2 * 2 * 3 * 3


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)


class Embedder:
    """Gives each image numbers of its own that float16 cannot hold; remembers how many images it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, images) -> torch.Tensor:
        self.asked.append(len(images))
        return torch.stack([torch.arange(18.0).view(SHAPE) / 7 + float(image.mean()) for image in images])


def test_what_was_kept_is_what_was_made(tmp_path):
    embed, images = Embedder(), [picture(0), picture(1), picture(0)]
    cold = Embeddings(tmp_path, "net", SHAPE).through(images, embed)
    assert cold.dtype == torch.float32
    assert torch.equal(cold, embed(images).half().float())
    assert embed.asked == [2, 3]
    warm = Embeddings(tmp_path, "net", SHAPE)
    assert torch.equal(warm.through(images, embed), cold)
    mixed = warm.through([picture(2), *images], embed)
    assert torch.equal(mixed[1:], cold)
    assert embed.asked == [2, 3, 1]


def test_there_is_one_packed_file(tmp_path):
    Embeddings(tmp_path, "net", SHAPE).through([picture(seed) for seed in range(3)], Embedder())
    assert (tmp_path / "net" / PACK).stat().st_size == 3 * ROW_BYTES


def test_images_of_the_same_bytes_and_another_shape_differ(tmp_path):
    embed = Embedder()
    Embeddings(tmp_path, "net", SHAPE).through([picture(0), picture(0).reshape(5, 4, 3)], embed)
    assert embed.asked == [2]


def test_networks_do_not_share_embeddings(tmp_path):
    embed = Embedder()
    for key in ("one", "other"):
        Embeddings(tmp_path, key, SHAPE).through([picture(0)], embed)
    assert embed.asked == [1, 1]


def test_a_crash_before_the_index_is_written_loses_only_the_new_rows(tmp_path, monkeypatch):
    embed = Embedder()
    first = Embeddings(tmp_path, "net", SHAPE).through([picture(0)], embed)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(embeddings.json, "dumps", crash)
        Embeddings(tmp_path, "net", SHAPE).through([picture(1)], embed)
    assert (tmp_path / "net" / PACK).stat().st_size == 2 * ROW_BYTES
    again = Embeddings(tmp_path, "net", SHAPE)
    both = again.through([picture(0), picture(2)], embed)
    assert torch.equal(both[0], first[0])
    assert torch.equal(Embeddings(tmp_path, "net", SHAPE).through([picture(2)], embed)[0], both[1])
    assert embed.asked == [1, 1, 1]
    assert (tmp_path / "net" / PACK).stat().st_size == 2 * ROW_BYTES


@pytest.mark.parametrize("left", [0, ROW_BYTES - 1, ROW_BYTES + 5])
def test_rows_that_the_packed_file_lacks_are_made_again(tmp_path, left):
    embed, images = Embedder(), [picture(0), picture(1)]
    expected = Embeddings(tmp_path, "net", SHAPE).through(images, embed)
    pack = tmp_path / "net" / PACK
    pack.write_bytes(pack.read_bytes()[:left])
    assert torch.equal(Embeddings(tmp_path, "net", SHAPE).through(images, embed), expected)
    assert embed.asked == [2, 2 - left // ROW_BYTES]


def test_two_writers_at_once_keep_both_ones_rows(tmp_path):
    embed = Embedder()
    one, other = Embeddings(tmp_path, "net", SHAPE), Embeddings(tmp_path, "net", SHAPE)
    first = []

    def overtaken(images) -> torch.Tensor:
        first.append(one.through([picture(0)], embed))
        return embed(images)

    second = other.through([picture(1), picture(0)], overtaken)
    both = Embeddings(tmp_path, "net", SHAPE).through([picture(0), picture(1)], embed)
    assert torch.equal(both, torch.cat([first[0], second[:1]]))
    assert embed.asked == [1, 2]
    assert len(json.loads((tmp_path / "net" / INDEX).read_text())) == 2


def test_a_full_cache_gives_the_same_without_keeping(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "LIMIT", 2 * ROW_BYTES)
    embed, images = Embedder(), [picture(seed) for seed in range(3)]
    kept = Embeddings(tmp_path, "net", SHAPE)
    assert torch.equal(kept.through(images, embed), embed(images).half().float())
    kept.through(images[:2], embed)
    kept.through(images, embed)
    assert embed.asked == [3, 3, 2, 1]
    assert (tmp_path / "net" / PACK).stat().st_size == 2 * ROW_BYTES


def test_other_networks_make_room_the_longest_unused_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embeddings, "LIMIT", 3 * ROW_BYTES)
    embed = Embedder()
    for age, key in enumerate(("old", "older", "new"), 1):
        Embeddings(tmp_path, key, SHAPE).through([picture(0)], embed)
        embeddings.os.utime(tmp_path / key / PACK, (age, age))
    Embeddings(tmp_path, "old", SHAPE)  # used once more
    Embeddings(tmp_path, "mine", SHAPE).through([picture(0)], embed)
    assert sorted(pack.parent.name for pack in tmp_path.glob(f"*/{PACK}")) == ["mine", "new", "old"]
    assert "older is removed" in capsys.readouterr().out


def test_a_batch_that_does_not_fit_takes_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "LIMIT", 2 * ROW_BYTES)
    embed = Embedder()
    Embeddings(tmp_path, "small", SHAPE).through([picture(0)], embed)
    Embeddings(tmp_path, "large", SHAPE).through([picture(seed) for seed in range(3)], embed)
    assert [pack.parent.name for pack in tmp_path.glob(f"*/{PACK}")] == ["small"]


def test_a_network_whose_files_made_room_meanwhile_makes_them_again(tmp_path, monkeypatch):
    """Also where they have come back in another order."""
    monkeypatch.setattr(embeddings, "LIMIT", 2 * ROW_BYTES)
    embed, images = Embedder(), [picture(0), picture(1)]
    one = Embeddings(tmp_path, "one", SHAPE)
    expected = one.through(images, embed)
    Embeddings(tmp_path, "other", SHAPE).through([picture(2)], embed)
    assert not (tmp_path / "one").exists()
    assert torch.equal(one.through(images[:1], embed), expected[:1])
    Embeddings(tmp_path, "third", SHAPE).through(images, embed)
    Embeddings(tmp_path, "one", SHAPE).through(images[::-1], embed)
    assert torch.equal(one.through(images, embed), expected)
    assert embed.asked == [2, 1, 1, 2, 2]


def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embeddings.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        Embeddings(tmp_path, "net", SHAPE).through([picture(0)], Embedder())


def test_the_key_depends_on_checkpoint_precision_and_device(tmp_path):
    places = [Context(torch.device(kind), bf16) for kind in ("cpu", "cuda") for bf16 in (False, True)]
    keys = set()
    for content in (b"one", b"other"):
        (tmp_path / "checkpoint").write_bytes(content)
        keys |= {network_key(tmp_path / "checkpoint", where) for where in places}
    assert len(keys) == 8
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    assert network_key(Path(tmp_path / "moved"), places[0]) in keys
