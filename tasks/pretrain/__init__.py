"""Pretraining: an encoder from images without labels (denoising, masked, moco, dino) or with them (supervised)."""
