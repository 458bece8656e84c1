"""From a configuration to the encoder and the method's objective."""

from __future__ import annotations

import dataclasses

from umsrep.errors import InputError
from umsrep.tasks.pretrain.config import DenoisingConfig, DinoConfig, MaskedConfig, MocoConfig, PretrainConfig
from umsrep.tasks.pretrain.objectives import DenoisingObjective, MaskedObjective, Objective
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.blending import blend


def build_encoder(config: PretrainConfig) -> Encoder:
    """Make the encoder to start from, its contract at the run's image size.

    Raises:
        InputError: for an unknown encoder, weights that do not fit, or no image size.
    """
    given, size = config.encoder, config.image_size
    if given.name is not None:
        encoder = Encoder.from_pretrained(given.name, revision=given.revision)
        if given.modality is not None:
            encoder.modality = given.modality
        if given.unit != "auto":
            encoder.contract = encoder.contract.with_unit(given.unit)
        if given.blend is not None:
            blend(encoder, given.blend.weights, given.blend.share)
    else:
        assert given.arch is not None
        rules = {f.name: getattr(given, f.name) for f in dataclasses.fields(InputContract) if f.name not in ("channels", "size")}
        contract = InputContract.from_dict({"channels": given.in_channels, "size": size, **rules})
        encoder = Encoder.create(given.arch, contract=contract, weights=given.weights, modality=given.modality)
    if size is not None:
        encoder.contract = encoder.contract.replace(size=tuple(size) if isinstance(size, list) else size)
    if encoder.contract.size is None:
        raise InputError("config: set image_size; the encoder's contract has none")
    return encoder


def build_objective(config: PretrainConfig, encoder: Encoder) -> Objective:
    """Make the method's objective.

    Raises:
        InputError: where the method does not fit the encoder or the image size, or needs an extra.
    """
    if config.method == "denoising":
        return DenoisingObjective(encoder, config.denoising or DenoisingConfig(), frozen_norm=config.frozen_norm)
    if config.method == "masked":
        return MaskedObjective(encoder, config.masked or MaskedConfig(), frozen_norm=config.frozen_norm)
    from umsrep.tasks.pretrain.contrasting import DinoObjective, MocoObjective

    if config.method == "moco":
        return MocoObjective(encoder, config.moco or MocoConfig(), frozen_norm=config.frozen_norm)
    return DinoObjective(encoder, config.dino or DinoConfig(), frozen_norm=config.frozen_norm)
