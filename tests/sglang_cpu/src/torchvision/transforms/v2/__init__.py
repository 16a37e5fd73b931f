"""The second interface of transforms: the same names."""

from torchvision.transforms import InterpolationMode, functional

__all__ = ["InterpolationMode", "functional"]
