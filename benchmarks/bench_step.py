"""(a) A step of the trainer against a bare PyTorch loop over the same modules: at most 1.03 times as long, for a CNN and a ConvNeXt.

Ours is `Trainer._train_epoch` itself, as `umsrep finetune` runs it, over batches that lie in memory; then once more with its own loader
of two workers. The bare loop has a copy of the modules, the same batches (the same loader) and the same work, written as one would for
one script: one forward of the encoder for the clean and one for the noisy images, one shared decoder, torch's own losses, clipping,
AdamW with the same groups and rates, a moving average of all weights and buffers. It checks nothing and knows its three tasks by name.
That both do the same work is seen from the losses of the first round, which are printed and must agree (so without dropout, whose draws
differ). Left out of both: the comparison of the tasks' gradients in every 200th batch (`gradients_every`), whose cost is a row of its own.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from timing import Row, alternate, arguments, finish, timed
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from workload import AUGMENT_OFF, batches_of, make_trainer, our_epoch, our_steps, write_images

from umsrep.tasks.data.dataset import collate
from umsrep.tasks.trainer import Trainer

ARCHS = ("tf_efficientnet_lite0", "convnextv2_atto")


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

    def steps(self, batches: Iterable[Any]) -> list[float]:
        """Train on these batches; returns each task's mean loss."""
        model, decoder = self.model.train(), self.model.decoders["unet"]
        heads, contract, sums, count = model.heads, model.encoder.contract, [0.0, 0.0, 0.0], 0
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
            sums, count = [total + loss.item() for total, loss in zip(sums, losses, strict=True)], count + 1
        return [total / count for total in sums]


def compare(arch: str, folder: Path, size: int, steps: int, rounds: int) -> list[Row]:
    """Return the comparisons for one architecture; the folder gets images for an epoch of ``steps`` and the runs."""
    data = write_images(folder / "data", steps * 64 // 7)  # seven eighths of them train, eight a step
    fixed = {"encoder": {"arch": arch}, "image_size": size, "augment": AUGMENT_OFF}
    trainer = make_trainer(data, folder / "run", gradients_every=0, **fixed)
    always = make_trainer(data, folder / "always", gradients_every=1, **fixed)
    batches, bare = batches_of(trainer, steps), BareLoop(trainer)
    theirs = bare.steps(batches)
    print(f"{arch}: losses of the first round, ours and bare:")
    for (task, loss), other in zip(our_steps(trainer, batches).items(), theirs, strict=True):
        print(f"  {task}: {loss:.5f} {other:.5f}")

    def loader() -> DataLoader[Any]:
        trainer.sampler.start = 0
        return DataLoader(trainer.train_set, batch_sampler=trainer.sampler, num_workers=2, collate_fn=collate)

    memory = {
        "ours": timed(lambda: our_steps(trainer, batches), steps),
        "bare": timed(lambda: bare.steps(batches), steps),
        "always": timed(lambda: our_steps(always, batches), steps),
    }
    seconds = alternate(memory, rounds)
    loading = {"ours": timed(lambda: our_epoch(trainer), steps), "bare": timed(lambda: bare.steps(loader()), steps)}
    loaded = alternate(loading, rounds)
    what = f"training step, {arch}, {size} px, batch 8, 3 tasks"
    return [
        Row(f"{what} | bare loop", seconds["ours"], seconds["bare"], "ratio", 1.03),
        Row(f"{what}, 2 loading workers | bare loop", loaded["ours"], loaded["bare"], "ratio", 1.03),
        Row(f"{what}: gradients compared in every batch | never", seconds["always"], seconds["ours"], "ratio"),
    ]


def main() -> None:
    options = arguments(__doc__)
    size, steps, rounds = (32, 7, 1) if options.quick else (128, 7, 7)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for arch in ARCHS:
            folder = Path(name, arch)
            folder.mkdir()
            rows += compare(arch, folder, size, steps, rounds)
    finish("step", rows, options)


if __name__ == "__main__":
    main()
