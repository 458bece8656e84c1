"""(e) `Encoder.from_pretrained("org/model")` from a Hub on this machine against bare hf_hub_download + load_file, and the memory it takes.

The server runs in a process of its own (tests/hub_server.py). Cold: an empty cache in every round. Warm: the file is cached and the branch
is asked for, one HEAD on each side. Bare stops at tensors in a dictionary: it builds no model, checks no sha256 (whose own time is
given), and its tensors are unread pages of the mapped file. So a third reference goes on to what ours ends with: timm.create_model and
load_state_dict. Memory is what a fresh process gains between its imports and the loaded, touched model: the peak of resident pages.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ARCHS = ("resnet26", "tf_efficientnet_lite4")

_MAKE = """
import sys
from umsrep.zoo import Encoder, InputContract
Encoder.create(sys.argv[1], contract=InputContract(channels=1)).save_pretrained(sys.argv[2])
"""
_MEMORY = """
import sys, torch, timm
from umsrep.zoo import Encoder
from safetensors.torch import load_file

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

folder, arch, how = sys.argv[1:]
torch.rand(10).sum().item()
before = peak()
if how == "ours":
    model = Encoder.from_pretrained(folder).model
else:
    model = timm.create_model(arch, num_classes=0, in_chans=1)
    model.load_state_dict(load_file(folder + "/model.safetensors"), strict=True)
total = sum(t.flatten()[::256].sum().item() for t in model.state_dict().values())  # touch every page, copy none
print(peak() - before)
"""


@contextmanager
def serving(parent: Path) -> Iterator[str]:
    """Serve every architecture's folder as org/ARCH from another process; gives its address."""
    command = [sys.executable, "-m", "tests.hub_server", *(f"org/{arch}={parent / arch}" for arch in ARCHS)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def grown(folder: Path, arch: str, how: str) -> int:
    """Return how many bytes a fresh process gained."""
    command = [sys.executable, "-c", _MEMORY, str(folder), arch, how]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def measure(parent: Path) -> None:
    """Time all sides in turn and print; huggingface_hub is imported here, after its settings."""
    import timm
    from huggingface_hub import hf_hub_download
    from safetensors.torch import load_file
    from timing import Row, alternate, arguments, finish, timed

    from umsrep.zoo import Encoder, hub

    options = arguments(__doc__)
    fresh = itertools.count()

    def ours(arch: str, cache: Path | None) -> object:
        return Encoder.from_pretrained(f"org/{arch}", cache_dir=cache or parent / str(next(fresh)))

    def bare(arch: str, cache: Path | None) -> dict[str, Any]:
        return load_file(hf_hub_download(f"org/{arch}", hub.ENCODER_FILE, cache_dir=cache or parent / str(next(fresh))))

    def by_hand(arch: str, cache: Path | None) -> object:
        model = timm.create_model(arch, num_classes=0, in_chans=1)
        model.load_state_dict(bare(arch, cache), strict=True)
        return model.eval()

    rows = []
    for arch in ARCHS:
        file = parent / arch / hub.ENCODER_FILE
        ours(arch, parent / "warm")
        clocks = {"sha256": timed(partial(hub.sha256, file))}
        for when, cache in (("cold", None), ("warm", parent / "warm")):
            clocks |= {f"{side.__name__} {when}": timed(partial(side, arch, cache)) for side in (ours, bare, by_hand)}
        seconds = alternate(clocks, 3 if options.quick else 21)
        for when in ("cold", "warm"):
            what = f"{arch}, {file.stat().st_size / 1e6:.0f} MB, {when}: from_pretrained"
            rows.append(Row(f"{what} | hf_hub_download + load_file", seconds[f"ours {when}"], seconds[f"bare {when}"], "ratio", 1.15))
            rows.append(Row(f"{what} | the same, into a timm model", seconds[f"ours {when}"], seconds[f"by_hand {when}"], "ratio", 1.15))
        rows.append(Row(f"{arch}: sha256 alone | hf_hub_download + load_file, warm", seconds["sha256"], seconds["bare warm"], "ratio"))
    finish("hub", rows, options)
    for arch in ARCHS:
        size = (parent / arch / hub.ENCODER_FILE).stat().st_size
        ours_grown, timms = (grown(parent / arch, arch, how) / size for how in ("ours", "timm"))
        print(f"{arch}: peak memory of loading {ours_grown:.2f} times the weights (target <= 1.3); timm + load_file {timms:.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        for arch in ARCHS:
            subprocess.run([sys.executable, "-c", _MAKE, arch, str(Path(name, arch))], cwd=ROOT, check=True)
        with serving(Path(name)) as url:
            os.environ.update(HF_ENDPOINT=url, HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_OFFLINE="0")
            measure(Path(name))


if __name__ == "__main__":
    main()
