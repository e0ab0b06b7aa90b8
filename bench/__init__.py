"""busbench: weakly supervised breast-ultrasound segmentation, reproduced from nothing."""

import os

# Must be set before OpenMP starts: threads that spin while waiting make a busy machine up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
