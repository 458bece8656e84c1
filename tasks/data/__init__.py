"""Data: manifests of folders, MedMNIST files and Hub data sets, the joint data set and its sampler, the Doppler simulator."""

from umsrep.tasks.data import doppler
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.medmnist import load_medmnist

__all__ = ["Manifest", "doppler", "load_manifest", "load_medmnist"]
