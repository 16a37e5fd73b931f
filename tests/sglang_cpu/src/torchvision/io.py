"""Reading images, which this stand-in cannot."""

from enum import Enum
from typing import NoReturn


class ImageReadMode(Enum):
    """Colour modes by torchvision's numbers."""

    UNCHANGED, GRAY, GRAY_ALPHA, RGB, RGB_ALPHA = range(5)


def decode_image(*_arguments: object, **_options: object) -> NoReturn:
    """Refuse."""
    raise NotImplementedError("torchvision.io: a stand-in that reads no images")


decode_jpeg = read_image = decode_image
