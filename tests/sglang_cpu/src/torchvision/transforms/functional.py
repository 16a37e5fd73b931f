"""Image transforms, which this stand-in does not have."""

from typing import NoReturn

from torchvision.transforms import InterpolationMode

__all__ = ["InterpolationMode", "normalize", "pad", "pil_to_tensor", "resize", "to_tensor"]


def pil_to_tensor(*_arguments: object, **_options: object) -> NoReturn:
    """Refuse."""
    raise NotImplementedError("torchvision.transforms: a stand-in that transforms no images")


normalize = pad = resize = to_tensor = pil_to_tensor
