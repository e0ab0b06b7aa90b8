"""busbench: weakly supervised breast-ultrasound segmentation, reproduced from nothing."""
