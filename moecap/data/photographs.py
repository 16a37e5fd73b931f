"""Eighteen real photographs that two packages carry: sixteen of scikit-image, two of scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch
from moecap.errors import BadInputError, NotAvailableError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FILES", "NAME", "PHOTOGRAPHS_SOURCE", "PICTURES", "Photograph", "load_photographs", "read_pixels"]

NAME = "photographs"
MOST_PIXELS = 32_000_000
PHOTOGRAPHS_SOURCE = "photographs in the packages scikit-image 0.26.0 and scikit-learn"
PICTURES = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "cell.png": "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "clock_motion.png": "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}
"""The photographs of scikit-image with their SHA-256; what is drawn or shows letters only is left out."""

FILES = PackageFiles(
    package="scikit-image",
    version="0.26.0",
    archive="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    archive_bytes=13_711_217,
    archive_sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    members={f"skimage/data/{name}": digest for name, digest in PICTURES.items()},
    licence="each picture's own (skimage.data)",
)

_OF_SCIKIT_LEARN = ("china.jpg", "flower.jpg")


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph.

    Attributes:
        name: Its file's name without the ending.
        pixels: Red, green and blue, uint8 [height, width, 3]; equal where it is grey.
    """

    name: str
    pixels: np.ndarray


def load_photographs() -> list[Photograph]:
    """All of them, in the order of their names.

    Raises:
        NotAvailableError: If scikit-image's cannot be fetched, or scikit-learn or Pillow is not installed.
        BadInputError: If a file is damaged.
    """
    try:
        import sklearn.datasets
    except ModuleNotFoundError:
        raise NotAvailableError("scikit-learn is not installed; pip install 'moecap[methods]'") from None
    here = fetch(FILES)
    paths = [here / member for member in FILES.members]
    paths += [Path(sklearn.datasets.__file__).parent / "images" / name for name in _OF_SCIKIT_LEARN]
    return [Photograph(path.stem, read_pixels(path)) for path in sorted(paths, key=lambda path: path.name)]


def read_pixels(path: Path) -> np.ndarray:
    """Red, green and blue of a picture, uint8 [height, width, 3].

    Raises:
        NotAvailableError: If Pillow is not installed.
        BadInputError: If the file is no picture; it is named.
    """
    import numpy as np

    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise NotAvailableError("Pillow is not installed; pip install 'moecap[methods]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bound comes later than this one
            with Image.open(path) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels; the limit is {MOST_PIXELS:,}")
                return np.asarray(picture.convert("RGB"))
    except Exception as error:  # each format raises its own
        reason = str(error).replace(str(path), path.name).splitlines()[0]
        raise BadInputError(f"{path} cannot be read as a picture ({reason}); fetch it again") from None
