"""Tensor files come whole or not at all, keep every bit, and are read without trust."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from sega_core import tensor_file
from support.core import noise

KIND = "sega-test"
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def raw(path: Path, header: Any, data: bytes = b"", size: int | None = None) -> Path:
    """Write a safetensors file by hand: the header's size, the header, the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + data)
    return path


def one_tensor(dtype: str, shape: list[int], length: int) -> dict[str, Any]:
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, length]}
    return {"__metadata__": {"kind": KIND}, "a": tensor}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    values = {"a.0": (8 * noise(3, 5)).to(dtype), "é b": (8 * noise(4, seed=2)).to(dtype)}
    tensor_file.write(tmp_path / "x", KIND, values, {"says": "grün \u2603\nline", "nothing": ""})
    tensors, metadata = tensor_file.read(tmp_path / "x", KIND)
    assert tensors.keys() == values.keys()
    for name, value in values.items():
        assert tensors[name].dtype == dtype
        assert torch.equal(tensors[name], value)
    assert metadata == {"format": "pt", "kind": KIND, "says": "grün \u2603\nline", "nothing": ""}


def test_views_and_empty_tensors_come_back(tmp_path: Path) -> None:
    table = noise(4, 6)
    values = {"turned": table.t(), "every other": noise(8, seed=3)[::2], "expanded": noise(1, 3).expand(5, 3)}
    values |= {"empty": torch.zeros(3, 0), "number": torch.tensor(2.5)}
    tensor_file.write(tmp_path / "x", KIND, values, {})
    tensors, _ = tensor_file.read(tmp_path / "x", KIND)
    assert all(torch.equal(tensors[name], value) for name, value in values.items())


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for seed in (1, 2):
        tensor_file.write(tmp_path / "x", KIND, {"a": noise(50 // seed, seed=seed)}, {})
    assert torch.equal(tensor_file.read(tmp_path / "x", KIND)[0]["a"], noise(25, seed=2))
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_what_was_read_stays_when_another_program_writes_over_the_file(tmp_path: Path) -> None:
    values = noise(5000)
    tensor_file.write(tmp_path / "x", KIND, {"a": values}, {})
    tensors, _ = tensor_file.read(tmp_path / "x", KIND)
    with (tmp_path / "x").open("r+b") as file:
        file.write(b"\0" * (tmp_path / "x").stat().st_size)
    assert torch.equal(tensors["a"], values)


def write_a_part(tensors: Any, file: Any, metadata: Any = None) -> None:
    Path(file).write_bytes(b"half a file")
    raise OSError(28, "No space left on device")


def replace_nothing(*paths: Any) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(
    ("owner", "name", "failure"),
    [(tensor_file, "save_file", write_a_part), (os, "replace", replace_nothing)],
    ids=["full disk", "locked file"],
)
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, failure: Any
) -> None:
    tensor_file.write(tmp_path / "x", KIND, {"a": noise(5)}, {})
    before = (tmp_path / "x").read_bytes()
    monkeypatch.setattr(owner, name, failure)
    for file in ("x", "new"):
        with pytest.raises(OSError, match=r"No space|Permission"):
            tensor_file.write(tmp_path / file, KIND, {"a": noise(6)}, {})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"x": before}


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.tensor([1.0, torch.nan]), "a must be finite, got NaN or infinity"),
        (torch.tensor([-torch.inf], dtype=torch.float16), "a must be finite, got NaN or infinity"),
        (torch.zeros(2, dtype=torch.complex64), "a must hold whole numbers or floats .* got torch.complex64"),
        (torch.zeros(2, dtype=torch.uint8).view(torch.float8_e4m3fn), "a must hold .* got torch.float8_e4m3fn"),
    ],
)
def test_what_cannot_be_read_is_not_written(tmp_path: Path, tensor: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        tensor_file.write(tmp_path / "x", KIND, {"a": tensor}, {})
    assert not list(tmp_path.iterdir())


HEADERS = {
    "no header": (b"", b"", None, "not a safetensors file, or is damaged"),
    "not UTF-8": (b'{"\xff": 1}', b"", None, "not a safetensors file, or is damaged"),
    "nested without end": (b"[" * 100_000, b"", None, "not a safetensors file, or is damaged"),
    "a header of exabytes": (b"{}", b"", 2**63, "not a safetensors file, or is damaged"),
    "a shape of exabytes": (one_tensor("F32", [2**40, 2**40], 4), b"1234", None, "or is damaged"),
    "fewer bytes than the shape": (one_tensor("F32", [2], 8), b"1234", None, "or is damaged"),
    "more bytes than the shape": (one_tensor("F32", [1], 4), b"12345678", None, "or is damaged"),
    "an unknown type": (one_tensor("F1000", [1], 4), b"1234", None, "or is damaged"),
    "metadata of numbers": ({"__metadata__": {"kind": 1}}, b"", None, "or is damaged"),
    "another kind": ({"__metadata__": {"format": "pt"}}, b"", None, "must be a file of kind 'sega-test', got None"),
    "NaN": (one_tensor("F32", [1], 4), b"\xff" * 4, None, "a must be finite, got NaN or infinity"),
    "infinity": (one_tensor("F16", [1], 2), b"\x00\x7c", None, "a must be finite, got NaN or infinity"),
    "NaN in 8 bits": (one_tensor("F8_E4M3", [1], 1), b"\xff", None, "a must hold .* got torch.float8_e4m3fn"),
    "4 bits": (one_tensor("F4", [2], 1), b"\xff", None, "x"),
    "complex": (one_tensor("C64", [1], 8), b"\0" * 8, None, "x"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_file_that_is_not_one_of_ours_is_refused(tmp_path: Path, case: str) -> None:
    header, data, size, reason = HEADERS[case]
    with pytest.raises(ValueError, match=rf"^x.*{reason}"):
        tensor_file.read(raw(tmp_path / "x", header, data, size), KIND)


def test_every_truncated_file_is_refused(tmp_path: Path) -> None:
    tensor_file.write(tmp_path / "whole", KIND, {"a": noise(3)}, {"says": "something"})
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^x is not a safetensors file, or is damaged"):
            tensor_file.read(tmp_path / "x", KIND)


class Bomb:
    """Makes the file `fuse` when it is unpickled."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> Any:
        return Path.touch, (self.fuse,)


@pytest.mark.parametrize("dump", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, dump: Any) -> None:
    dump({"a": Bomb(tmp_path / "exploded")}, tmp_path / "x")
    with pytest.raises(ValueError, match=r"^x is not a safetensors file"):
        tensor_file.read(tmp_path / "x", KIND)
    assert not (tmp_path / "exploded").exists()


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        tensor_file.read(tmp_path / "nowhere", KIND)
