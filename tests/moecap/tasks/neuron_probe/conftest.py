"""An engine in this process on a tiny mixture-of-experts model with its tokenizer, and one thread."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def open_engine(tiny_model):
    """A function from the name of a family to an engine of its tiny model."""
    from moecap.backend import EngineJob
    from moecap.models.config_file import read_config_file
    from moecap.models.reading import read_model
    from moecap_backends.transformers import TransformersEngine

    def opened(family):
        folder = tiny_model(family)
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        return TransformersEngine(EngineJob(folder, spec, "cpu", "fp32", 1, 0, {}, lambda _line: None))

    return opened


@pytest.fixture(scope="package")
def engine(open_engine):
    with open_engine("mixtral") as engine:
        yield engine


@pytest.fixture(scope="package")
def tokenizer(tiny_model):
    from moecap.tokenizer import Tokenizer

    return Tokenizer(tiny_model("mixtral"))
