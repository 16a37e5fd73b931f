"""BDD-OIA as RSBench publishes it: an embedding of each scene, what is seen in it, and what may be done.

``bdd2048/{train,val,test}/`` hold ``inputs``, ``labels`` and ``concepts``, one PyTorch file a scene in each. The list
of a split, ``{split}_BDD_OIA.pkl``, is a Python pickle, which could run any code; it only repeats the names of the
files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["Scenes", "load_bdd_oia"]

EMBEDDING, CONCEPTS, ACTIONS = 2048, 21, 4


class Scenes(NamedTuple):
    """Scenes of one split, in the order of the names of their files.

    Attributes:
        embeddings: [n, 2048], 32-bit fractions.
        concepts: 0 or 1, [n, 21].
        actions: Forward, stop, left and right, 0 or 1, [n, 4].
    """

    embeddings: np.ndarray
    concepts: np.ndarray
    actions: np.ndarray


def load_bdd_oia(folder: Path, split: str) -> Scenes:
    """One split.

    Args:
        folder: The folder ``bdd2048``, or one that holds it.
        split: ``train``, ``val`` or ``test``.

    Raises:
        NotAvailableError: If the folder or PyTorch is not here.
        BadInputError: If a file cannot be read, or holds something else.
    """
    base = next((b for b in (folder / split, folder / "bdd2048" / split) if (b / "inputs").is_dir()), None)
    if base is None:
        raise NotAvailableError(f"{folder} holds no {split}/inputs; give RSBench's folder bdd2048 with --data DIR")
    names = sorted(path.name for path in (base / "inputs").glob("*.pt"))
    if not names:
        raise NotAvailableError(f"{base / 'inputs'} holds no .pt files; give RSBench's folder bdd2048 with --data DIR")
    embeddings = np.stack([_tensor(base / "inputs" / name, EMBEDDING, EMBEDDING) for name in names])
    concepts = np.stack([_bits(base / "concepts" / name, CONCEPTS, CONCEPTS) for name in names])
    actions = np.stack([_bits(base / "labels" / name, ACTIONS, ACTIONS + 1) for name in names])
    return Scenes(embeddings, concepts, actions)


def _bits(path: Path, least: int, most: int) -> np.ndarray:
    found = _tensor(path, least, most)
    if not np.isin(found, (0, 1)).all():
        raise BadInputError(f"{path}: {found[~np.isin(found, (0, 1))][0]:g} is neither 0 nor 1; fetch it again")
    return found.astype(np.int64)


def _tensor(path: Path, least: int, most: int) -> np.ndarray:
    """The first ``least`` numbers of a file of ``least`` to ``most`` of them."""
    try:
        import torch
    except ModuleNotFoundError:
        raise NotAvailableError("PyTorch is not installed; pip install 'moecap[transformers]'") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes of a pickle may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"{path} cannot be read as a tensor ({reason}); fetch it again") from error
    if not isinstance(found, torch.Tensor) or not least <= found.numel() <= most:
        raise BadInputError(f"{path} holds no {least} numbers; fetch it again")
    numbers: np.ndarray = found.flatten()[:least].to(torch.float32).numpy()
    if not np.isfinite(numbers).all():
        raise BadInputError(f"{path} holds what is no finite number; fetch it again")
    return numbers
