"""The key layouts of checkpoints that others publish: data only, one entry a layout, each with the source it was taken from."""

from __future__ import annotations

import dataclasses

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Rename = tuple[str, str]
"""A regular expression at the start of a key, and what takes its place."""

_TORCHVISION: tuple[Rename, ...] = (
    (r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2."),  # torchvision's DenseNets before 2018
)
_SEQUENTIAL: tuple[Rename, ...] = (  # nn.Sequential of the children of torchvision's ResNet, or of its DenseNet
    (r"0\.(?=conv0\.|norm0\.|denseblock|transition|norm5\.)", "features."),
    (r"0\.", "conv1."),
    (r"1\.", "bn1."),
    *((rf"{k + 3}\.", f"layer{k}.") for k in (1, 2, 3, 4)),
)
_SIMCLR2: tuple[Rename, ...] = (
    (r"net\.0\.0\.", "conv1."),
    (r"net\.0\.1\.0\.", "bn1."),
    (r"net\.([1-4])\.blocks\.", r"layer\1."),
    (r"(layer\d\.\d+)\.projection\.shortcut\.", r"\1.downsample.0."),
    (r"(layer\d\.\d+)\.projection\.bn\.0\.", r"\1.downsample.1."),
    *((rf"(layer\d\.\d+)\.net\.{2 * k}\.", rf"\1.conv{k + 1}.") for k in range(3)),
    *((rf"(layer\d\.\d+)\.net\.{2 * k + 1}\.0\.", rf"\1.bn{k + 1}.") for k in range(3)),
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the tensors of a checkpoint are named.

    Attributes:
        title: What is published in this form.
        source: Where the layout is documented.
        containers: Keys under which the tensors may lie, tried in turn; none of them: they lie at the top.
        prefixes: What stands before the encoder's keys, tried in turn.
        renames: Done in order, after the prefix is taken off.
        heads: Starts of keys, after that, that belong to heads and are dropped; anything else that timm does not know is refused.
        mean: Of the input in 0-1, as the weights were trained; None where the layout does not say.
        std: Likewise.
        arch: timm's name, where only one is published.
        advice: What to do with the published file where it is no file of tensors.
    """

    title: str
    source: str
    containers: tuple[str, ...] = ("state_dict", "model")
    prefixes: tuple[str, ...] = ("module.", "")
    renames: tuple[Rename, ...] = _TORCHVISION
    heads: tuple[str, ...] = ("fc.",)
    mean: tuple[float, ...] | None = IMAGENET[0]
    std: tuple[float, ...] | None = IMAGENET[1]
    arch: str | None = "resnet50"
    advice: str = ""


_XRV = "write its tensors, where you trust it: torch.save(torchxrayvision.models.DenseNet(weights=NAME).state_dict(), FILE)"

LAYOUTS: dict[str, Layout] = {
    "timm": Layout("timm's own names", "timm", renames=(), heads=(), mean=None, std=None, arch=None),
    "torchvision": Layout(
        "torchvision's ResNet, ResNeXt, Wide ResNet and DenseNet; supervised iNaturalist models",
        "torchvision; visipedia/newt benchmark/pt_resnet_feature_extractor.py",
        heads=("fc.", "classifier."),
        arch=None,
    ),
    "torchxrayvision": Layout(
        "DenseNet-121 and ResNet-50 for chest X-rays, one channel, -1024 to 1024",
        "torchxrayvision 1.5.7 models.py, utils.normalize",
        prefixes=("model.", ""),
        heads=("fc.", "classifier.", "op_threshs"),
        mean=(0.5,),
        std=(1 / 2048,),
        arch=None,
        advice=_XRV,
    ),
    "moco": Layout(
        "MoCo v1 and v2, PCL v1 and v2; CheSS; iNaturalist MoCo",
        "linusericsson/ssl-transfer download_and_prepare_models.py; visipedia/newt",
        prefixes=("module.encoder_q.", "encoder_q."),
    ),
    "insdis": Layout(
        "InsDis, PIRL, InfoMin (PyContrast)",
        "linusericsson/ssl-transfer download_and_prepare_models.py",
        containers=("model", "state_dict"),
        prefixes=("module.encoder.",),
        heads=("fc.", "head.", "jigsaw", "head_jig"),
    ),
    "swav": Layout(
        "SwAV, DeepCluster-v2, SeLa-v2; iNaturalist SwAV",
        "linusericsson/ssl-transfer download_and_prepare_models.py; visipedia/newt",
        heads=("fc.", "projection_head.", "prototypes."),
    ),
    "simclr": Layout(
        "SimCLR v1, as tonylins/simclr-converter writes it",
        "tonylins/simclr-converter convert.py, eval.py (no normalisation of the input)",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    ),
    "simclr2": Layout(
        "SimCLR v2 without selective kernels, as Separius/SimCLRv2-Pytorch writes it",
        "Separius/SimCLRv2-Pytorch convert.py, resnet.py",
        containers=("resnet",),
        renames=_SIMCLR2,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    ),
    "byol": Layout(
        "BYOL, as linusericsson/ssl-transfer converts DeepMind's file",
        "linusericsson/ssl-transfer download_and_prepare_models.py (convert_byol)",
        advice="DeepMind's .pkl is a pickle of JAX arrays: convert it with the script of linusericsson/ssl-transfer, where you trust it",
    ),
    "dino": Layout(
        "DINO: ResNet-50 and vision transformers, backbone files or the teacher of full checkpoints",
        "facebookresearch/dino hubconf.py, utils.load_pretrained_weights",
        containers=("teacher", "state_dict"),
        prefixes=("module.backbone.", "backbone.", ""),
        heads=("fc.", "head."),
    ),
    "barlow": Layout(
        "Barlow Twins: resnet50.pth, or the checkpoint of a run",
        "facebookresearch/barlowtwins main.py, hubconf.py",
        containers=("model",),
        prefixes=("module.backbone.", "backbone.", ""),
    ),
    "radimagenet": Layout(
        "RadImageNet's PyTorch files: ResNet-50 and DenseNet-121",
        "BMEII-AI/RadImageNet pytorch_example.ipynb (input (x - 127.5) * 2 / 255); issue 16",
        prefixes=("module.backbone.", "backbone."),
        renames=_SEQUENTIAL,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    ),
}
