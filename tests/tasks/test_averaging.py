"""The moving average is timm's to the bit, step by step, also after the model's tensors changed in place."""

from __future__ import annotations

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from umsrep.tasks.averaging import MovingAverage


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_it_is_timms_to_the_bit() -> None:
    model = _model()
    ours, theirs = (kind(model, decay=0.9, use_warmup=True) for kind in (MovingAverage, ModelEmaV3))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 6):
        model(torch.randn(2, 1, 8, 8)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        if step == 4:
            model.load_state_dict(_model().state_dict())
        for average in (ours, theirs):
            average.update(model, step=step)
        for (name, one), other in zip(ours.module.state_dict().items(), theirs.module.state_dict().values(), strict=True):
            assert torch.equal(one, other), (step, name)
    averaged, own = ours.module.state_dict(), model.state_dict()
    assert not torch.equal(averaged["0.weight"], own["0.weight"])
    assert int(averaged["1.num_batches_tracked"]) == int(own["1.num_batches_tracked"]) > 0


def test_another_model_is_looked_up_anew() -> None:
    model, other = _model(), _model()
    average = MovingAverage(model, decay=0.5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    average.update(model)
    average.update(other)
    torch.testing.assert_close(average.module.state_dict()["0.weight"], model.state_dict()["0.weight"] + 0.5)
