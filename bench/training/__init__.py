"""Training: augmentation, losses, the loop, Mean Teacher."""
