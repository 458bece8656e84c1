"""Training with images without annotation: semi-supervised, and on the images of a target (`umsrep.tasks.adapt` has the losses)."""
