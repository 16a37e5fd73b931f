"""The second interface of functional transforms."""

from torchvision.transforms.functional import InterpolationMode, normalize, pad, pil_to_tensor, resize, to_tensor

__all__ = ["InterpolationMode", "normalize", "pad", "pil_to_tensor", "resize", "to_tensor"]
