"""MoCo and DINO: losses from their definition, and the networks that follow."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.tasks.pretrain import contrasting
from umsrep.tasks.pretrain.config import DinoConfig, MocoConfig
from umsrep.zoo import Encoder, InputContract

needs_lightly = pytest.mark.skipif(importlib.util.find_spec("lightly") is None, reason="needs the extra ssl")
SMALL = MocoConfig(queue=16, hidden=8, dim=4)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder.create(ARCH, contract=InputContract(size=32))


def views(count: int, sizes: tuple[int, ...]) -> dict[str, Tensor]:
    return {f"view{k}": torch.randn(count, 1, size, size) for k, size in enumerate(sizes)}


@needs_lightly
def test_moco_is_infonce_against_the_queue() -> None:
    objective = contrasting.MocoObjective(encoder(), SMALL, frozen_norm=False).eval()
    batch = views(4, (32, 32))
    queue = objective.get_extra_state()["queue"].clone()
    with torch.no_grad():
        q = F.normalize(objective.head(objective.model.encoder.embed(batch["view0"])), dim=1)
        k = F.normalize(objective.keys(batch["view1"]), dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.2
    assert float(objective(batch).detach()) == pytest.approx(float(-logits.log_softmax(1)[:, 0].mean()), rel=1e-5)
    state = objective.get_extra_state()
    torch.testing.assert_close(state["queue"][:4], k)
    assert torch.equal(state["queue"][4:], queue[4:])
    assert int(state["place"]) == 4


@needs_lightly
def test_the_queue_is_filled_with_keys_before_the_first_step() -> None:
    objective = contrasting.MocoObjective(encoder(), SMALL, frozen_norm=True)
    batches = [views(6, (32, 32)) for _ in range(4)]
    before = {k: v.clone() for k, v in objective.keys.named_buffers()}
    objective.prepare(iter(batches))
    assert all(torch.equal(v, before[k]) for k, v in objective.keys.named_buffers()), "frozen norms stay as they are here too"
    keys = torch.cat([F.normalize(objective.keys(batch["view1"]), dim=1) for batch in batches[:3]])
    torch.testing.assert_close(objective.get_extra_state()["queue"], keys[:16])


@needs_lightly
def test_the_queue_is_saved() -> None:
    one, two = (contrasting.MocoObjective(encoder(), SMALL, frozen_norm=False) for _ in range(2))
    one(views(4, (32, 32)))
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.get_extra_state()["queue"], one.get_extra_state()["queue"])
    assert int(two.get_extra_state()["place"]) == 4


@needs_lightly
@pytest.mark.parametrize("kind", ["moco", "dino"])
def test_the_copy_follows_and_never_learns(kind: str) -> None:
    objective: Any
    if kind == "moco":
        objective = contrasting.MocoObjective(encoder(), SMALL, frozen_norm=False)
        copy, batch = objective.keys, views(4, (32, 32))
    else:
        small = DinoConfig(outputs=32, hidden=16, bottleneck=8, momentum=0.9, local_crops=1)
        objective = contrasting.DinoObjective(encoder(), small, frozen_norm=False)
        copy, batch = objective.teacher, views(4, (32, 32, 32))
    objective.train()
    objective(batch).backward()
    norms = [m for m in copy.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(m.training for m in norms)
    assert not any(m.training for m in copy.modules() if not isinstance(m, nn.BatchNorm2d)), "no dropout"
    assert all(p.grad is None and not p.requires_grad for p in copy.parameters())
    assert [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        for p in objective.model.parameters():
            p.add_(1.0)
    before = {k: v.clone() for k, v in copy.encoder.named_parameters()}
    objective.after_step(1, 100)
    momentum = 0.99 if kind == "moco" else 1 - 0.1 * (1 + math.cos(math.pi / 100)) / 2
    theirs = dict(objective.model.encoder.named_parameters())
    for name, value in copy.encoder.named_parameters():
        torch.testing.assert_close(value, momentum * before[name] + (1 - momentum) * theirs[name])


@needs_lightly
def test_groups_have_statistics_of_their_own_and_keep_their_order() -> None:
    objective = contrasting.MocoObjective(encoder(), SMALL, frozen_norm=False)
    view = torch.randn(16, 1, 32, 32)
    objective.train(False)
    torch.testing.assert_close(objective.keys(view, groups=4), objective.keys(view))
    objective.train()
    assert not torch.allclose(objective.keys(view, groups=4), objective.keys(view), atol=1e-4)
    frozen = contrasting.MocoObjective(encoder(), SMALL, frozen_norm=True)
    frozen.train()
    before = {k: v.clone() for k, v in frozen.named_buffers()}
    frozen.keys(view)
    assert all(torch.equal(v, before[k]) for k, v in frozen.named_buffers())


@needs_lightly
def test_dino_is_cross_entropy_over_pairs_of_different_views() -> None:
    config = DinoConfig(outputs=16, hidden=16, bottleneck=8, local_crops=1, local_size=32)
    objective = contrasting.DinoObjective(encoder(), config, frozen_norm=True).eval()
    batch = views(3, (32, 32, 32))
    with torch.no_grad():
        teacher = [F.softmax(objective.teacher(batch[f"view{k}"]) / 0.04, -1) for k in range(2)]
        student = [F.log_softmax(objective.head(objective.model.encoder.embed(batch[f"view{k}"])) / 0.1, -1) for k in range(3)]
        pairs = [-(t * s).sum(1).mean() for i, t in enumerate(teacher) for j, s in enumerate(student) if i != j]
        outputs = torch.cat([objective.teacher(batch[f"view{k}"]) for k in range(2)])
    assert float(objective(batch).detach()) == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-4)
    torch.testing.assert_close(objective.contrast.center.flatten(), 0.1 * outputs.mean(0))
    assert objective.result.encoder is objective.teacher.encoder


@needs_lightly
def test_prototypes_wait_in_the_first_epoch() -> None:
    objective = contrasting.DinoObjective(encoder(), DinoConfig(outputs=16, hidden=16, bottleneck=8, local_crops=0), frozen_norm=False)
    for epoch, moves in ((0, False), (1, True)):
        objective.zero_grad()
        objective(views(4, (32, 32))).backward()
        objective.before_step(epoch)
        assert (objective.head.last_layer.weight_v.grad is not None) == moves


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"umsrep\[ssl\]"):
        contrasting.MocoObjective(encoder(), MocoConfig(), frozen_norm=False)
    with pytest.raises(InputError, match=r"umsrep\[ssl\]"):
        contrasting.DinoObjective(encoder(), DinoConfig(), frozen_norm=False)
