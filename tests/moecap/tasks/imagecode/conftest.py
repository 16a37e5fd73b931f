"""ImageCoDe's files as they are released."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small arrays are summed in one thread: many threads on few cores wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def released(tmp_path):
    """A folder in the released format: two videos and a static set, with pictures whose shade grows with frames."""
    said = {
        "MSR-VTT-videoTestVideo_video1-shot1_0": {"5": "the sixth frame", "0": "the first frame"},
        "open-images-7_ab12": {"9": "the lightest picture"},
        "YouCook2-video9-shot3_1": {"2": "a third frame"},
    }
    (tmp_path / "valid_data.json").write_text(json.dumps(said, indent=2))
    unlabelled = {name: list(of_set.values()) for name, of_set in said.items()}
    (tmp_path / "test_data_unlabeled.json").write_text(json.dumps(unlabelled, indent=2))
    (tmp_path / "train_data.json").write_text(json.dumps(said, indent=2))
    for name in said:
        folder = tmp_path / "image-sets" / name
        folder.mkdir(parents=True)
        for number in range(10):  # as texts, img100 would come before img20
            shade = np.full((24, 32, 3), 20 + 20 * number, np.uint8)
            Image.fromarray(shade).save(folder / f"img{(number + 1) * 10}.jpg", quality=95)
    return tmp_path
