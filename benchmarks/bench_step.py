"""(a) A step of the trainer against a bare PyTorch loop over the same modules: at most 1.03 times as long.

Ours is `Trainer._train_epoch` itself, as `umsrep finetune` runs it, but over batches that lie in memory. The bare loop has a copy of
the modules, the same batches and the same work, written as one would for one script: one forward of the encoder for the
clean and one for the noisy images, one shared decoder, torch's own losses, clipping, AdamW with the same groups and rates, a
moving average of all weights and buffers. It checks nothing and knows its three tasks by name. That both do the same work is
seen from the losses of the first round, which are printed and must agree (so without dropout, whose draws differ).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timing import Row, alternate, arguments, finish, timed
from torch import nn
from torch.nn import functional as F
from workload import AUGMENT_OFF, batches_of, make_trainer, our_steps, write_images

from umsrep.tasks.trainer import Trainer


class BareLoop:
    """The same training with nothing around it."""

    def __init__(self, trainer: Trainer) -> None:
        module = copy.deepcopy(trainer.step_module)
        self.model = module.model
        twin = dict(zip(trainer.step_module.parameters(), module.parameters(), strict=True))
        groups = [{**group, "params": [twin[p] for p in group["params"]]} for group in trainer.optimisation.optimiser.param_groups]
        self.parameters = list(module.parameters())
        self.optimiser = torch.optim.AdamW([{**group, "lr": group["peak"]} for group in groups])
        average = copy.deepcopy(self.model)
        pairs = list(zip(average.state_dict().values(), self.model.state_dict().values(), strict=True))
        self.averages, self.weights = ([pair[k] for pair in pairs if pair[0].is_floating_point()] for k in (0, 1))
        shared = (self.model.encoder, self.model.decoders)
        self.norms = [m for part in shared for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    def steps(self, batches: Sequence[Any]) -> list[float]:
        """Train on these batches; returns each task's mean loss."""
        model, decoder = self.model.train(), self.model.decoders["unet"]
        heads, contract, sums = model.heads, model.encoder.contract, [0.0, 0.0, 0.0]
        for batch in batches:
            image, noisy, truth = batch["image"], batch["noisy.denoising"], batch["target.lungs"]
            features, embedding = model.encoder.forward_both(image)
            masks, labels = heads["lungs"](image, [], decoder(image, features)), heads["pneumonia"](embedding)
            for norm in self.norms:
                norm.training = False
            clean = heads["denoising"](noisy, [], decoder(noisy, model.encoder(noisy))) * contract.std + contract.mean
            for norm in self.norms:
                norm.training = True
            lung, true = masks.softmax(1)[:, 1], (truth == 1).float()
            dice = 1 - (2 * (lung * true).sum((1, 2)) + 1) / (lung.sum((1, 2)) + true.sum((1, 2)) + 1)
            losses = [F.l1_loss(clean, batch["target.denoising"]), F.cross_entropy(masks, truth) + dice.mean()]
            losses.append(F.cross_entropy(labels, batch["target.pneumonia"], label_smoothing=0.1))
            (10 * losses[0] + losses[1] + losses[2]).backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(self.averages, self.weights, weight=0.002)
            sums = [total + loss.item() / len(batches) for total, loss in zip(sums, losses, strict=True)]
        return sums


def main() -> None:
    options = arguments(__doc__)
    steps, rounds = (1, 1) if options.quick else (12, 9)
    with tempfile.TemporaryDirectory() as name:
        trainer = make_trainer(write_images(Path(name, "data"), 128), Path(name, "run"), augment=AUGMENT_OFF)
        batches, bare = batches_of(trainer, steps), BareLoop(trainer)
        theirs = bare.steps(batches)
        print("losses of the first round, ours and bare:")
        for (task, loss), other in zip(our_steps(trainer, batches).items(), theirs, strict=True):
            print(f"  {task}: {loss:.5f} {other:.5f}")
        clocks = {"ours": timed(lambda: our_steps(trainer, batches), steps), "bare": timed(lambda: bare.steps(batches), steps)}
        seconds = alternate(clocks, rounds)
    finish(
        "step",
        [Row("training step, lite0, 128 px, batch 8, 3 tasks | bare loop", seconds["ours"], seconds["bare"], "ratio", 1.03)],
        options,
    )


if __name__ == "__main__":
    main()
