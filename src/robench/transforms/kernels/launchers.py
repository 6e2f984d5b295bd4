"""All fused kernels, as functions of tensors."""

from robench.transforms.kernels.draws import integers, normal, uniform, words
from robench.transforms.kernels.filters import correlate
from robench.transforms.kernels.glass import shuffle
from robench.transforms.kernels.jpeg import jpeg
from robench.transforms.kernels.motion import motion
from robench.transforms.kernels.normalise import normalise

__all__ = ["correlate", "integers", "jpeg", "motion", "normal", "normalise", "shuffle", "uniform", "words"]
