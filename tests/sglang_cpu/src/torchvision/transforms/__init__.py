"""Names of image transforms; an interpolation has a name here and no more."""

from enum import Enum


class InterpolationMode(Enum):
    """Kinds of interpolation by torchvision's names."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


from torchvision.transforms import functional, v2  # noqa: E402 (they need the class above)

__all__ = ["InterpolationMode", "functional", "v2"]
