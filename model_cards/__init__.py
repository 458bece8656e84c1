"""Model cards of the presets, shipped as package data; read only by `umsrep.zoo.card`."""
