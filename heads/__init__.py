"""Heads for denoising, segmentation and classification: each takes channels and strides, never an encoder."""

from umsrep.heads.classification import ClassificationHead
from umsrep.heads.decoder import DECODERS, Decoder
from umsrep.heads.denoising import DenoisingHead
from umsrep.heads.head import Head
from umsrep.heads.segmentation import SegmentationHead

HEADS: dict[str, type[DenoisingHead] | type[SegmentationHead] | type[ClassificationHead]] = {
    "denoising": DenoisingHead,
    "segmentation": SegmentationHead,
    "classification": ClassificationHead,
}

__all__ = ["DECODERS", "HEADS", "ClassificationHead", "Decoder", "DenoisingHead", "Head", "SegmentationHead"]
