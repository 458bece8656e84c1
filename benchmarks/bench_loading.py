"""(c) `Encoder.from_pretrained(folder)` against timm.create_model + safetensors.load_file: at most 1.2 times as long.

Both end with the same model, on the CPU, in evaluation mode, holding the same tensors of the same file, loaded strictly. The reference
builds timm's model with its random initial weights and copies the file's tensors over them, as timm's users do. Ours also reads and
checks config.json and the file's sha256, whose own time is given. The files are in the page cache for both.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import timm
from safetensors.torch import load_file
from timing import Row, alternate, arguments, finish, timed
from torch import nn

from umsrep.zoo import Encoder, InputContract, hub

ARCHS = ("resnet18", "tf_efficientnet_lite0", "convnextv2_atto")


def load_with_timm(arch: str, file: Path) -> nn.Module:
    """Load by hand."""
    model: nn.Module = timm.create_model(arch, num_classes=0, in_chans=1)
    model.load_state_dict(load_file(file), strict=True)
    return model.eval()


def main() -> None:
    options = arguments(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for arch in ARCHS:
            folder = Encoder.create(arch, contract=InputContract(channels=1)).save_pretrained(Path(name, arch))
            file = folder / hub.ENCODER_FILE
            clocks = {
                "ours": timed(partial(Encoder.from_pretrained, folder)),
                "timm": timed(partial(load_with_timm, arch, file)),
                "sha256": timed(partial(hub.sha256, file)),
            }
            seconds = alternate(clocks, 3 if options.quick else 41)
            size = f"{arch}, {file.stat().st_size / 1e6:.0f} MB"
            rows.append(Row(f"{size}: from_pretrained | timm + load_file", seconds["ours"], seconds["timm"], "ratio", 1.2))
            rows.append(Row(f"{size}: sha256 alone | timm + load_file", seconds["sha256"], seconds["timm"], "ratio"))
    finish("loading", rows, options)


if __name__ == "__main__":
    main()
