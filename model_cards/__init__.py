"""Model cards and results files of the presets, shipped as package data; read only by `umsrep.zoo.card`."""
