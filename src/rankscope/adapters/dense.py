"""Dense and full fine-tuning: changed parameters as they are, saved, and swapped into a model."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from rankscope.base.atomic import atomic_path, write_json
from rankscope.base.errors import BadFile, BadInput, near_matches

KIND_FILE = "dense.json"
TENSORS_FILE = "dense.safetensors"
DenseKind = Literal["dense", "full"]


@dataclass(frozen=True)
class DenseWeights:
    """Parameter name in the base -> its value after training."""

    kind: DenseKind
    """`dense`: the weights of some sites; `full`: all parameters."""
    tensors: dict[str, Tensor]


def write_dense(folder: Path | str, tensors: Mapping[str, Tensor], kind: DenseKind) -> None:
    """Writes the changed parameters (whole values, not differences) and their kind, each file atomically."""
    if not tensors:
        raise BadInput("There are no changed parameters to write.")
    folder = Path(folder)
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(folder / TENSORS_FILE) as temporary:
        save_file(copies, temporary, metadata={"format": "pt"})
    write_json(folder / KIND_FILE, {"kind": kind, "parameters": sorted(copies)})


def read_dense(folder: Path | str) -> DenseWeights:
    """What `write_dense` wrote, bit for bit; BadFile when it is missing, malformed or not finite."""
    folder = Path(folder)
    try:
        header = json.loads((folder / KIND_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS_FILE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadFile(f"{folder} holds no dense weights: {error.filename or TENSORS_FILE} is missing.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, SafetensorError, OSError) as error:
        raise BadFile(f"The dense weights in {folder} are damaged ({error}). Train that cell again.") from None
    kind = header.get("kind") if isinstance(header, dict) else None
    if kind not in ("dense", "full") or header.get("parameters") != sorted(tensors):
        raise BadFile(f"{KIND_FILE} and {TENSORS_FILE} in {folder} do not belong together. Train that cell again.")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise BadFile(f"{name} in {folder} holds values that are no finite numbers; its training diverged.")
    return DenseWeights(kind, tensors)


@contextmanager
def with_parameters(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Iterator[PreTrainedModel]:
    """Puts the tensors in place of the model's parameters; the old ones come back bit for bit, come what may.

    A tied parameter may go by either of its names.
    Raises: BadInput for a name that the model lacks or another shape, before anything is changed.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        if name not in parameters:
            raise BadInput(f"The base has no parameter {name!r}. {near_matches(name, parameters)}")
        if tensor.shape != parameters[name].shape:
            raise BadInput(f"{name} has shape {tuple(parameters[name].shape)}, not {tuple(tensor.shape)}.")
    swapped = []
    try:
        for name, tensor in tensors.items():
            parameter = parameters[name]
            swapped.append((parameter, parameter.data))
            parameter.data = tensor.detach().to(parameter.data)
        yield model
    finally:
        for parameter, original in reversed(swapped):
            parameter.data = original
