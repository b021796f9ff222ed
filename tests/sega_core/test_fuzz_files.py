"""Guidance files with anything in them: read as finite guidance, or refused by an error that names the file."""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sega_core import Concept, GuidanceVectors, Settings, tensor_file, vectors
from support.fuzz import TYPES, numbers, values

FUZZ = settings(max_examples=300)
DTYPES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "U64", "BOOL", "C64", "X"]
TENSORS = ["guidance.0", "activity.0", "magnitudes"]
FIELDS = ["kind", "version", "space", "sigmas", "concepts", "settings"]

concept_keys = st.sampled_from([*Concept.__dataclass_fields__, "text", "mask"])
concepts = st.lists(st.dictionaries(concept_keys, values | st.sampled_from(["add", "space"]), max_size=9), max_size=3)
shared = st.dictionaries(st.sampled_from([*Settings.__dataclass_fields__, "steps"]), values, max_size=4)
texts = st.one_of(values, concepts, shared, st.lists(numbers, max_size=4)).map(json.dumps) | st.text(max_size=30)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """A valid file."""
    guidance, activity = torch.full((2, 1, 4, 2, 2), 0.5), torch.ones(1, 1, 2, 2)
    made = GuidanceVectors(
        (guidance,), (activity,), torch.ones(2, 1), (14.0, 3.0, 0.0), "noise", (Concept(),), ("hat",), Settings()
    )
    vectors.save(made, tmp_path / "whole")
    return (tmp_path / "whole").read_bytes()


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Let the process take no more than 512 MB besides what it has, whatever a file says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**29, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def header_of(content: bytes) -> dict[str, Any]:
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


def with_header(content: bytes, header: dict[str, Any]) -> bytes:
    text, (size,) = json.dumps(header).encode(), struct.unpack("<Q", content[:8])
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def assert_refused_or_finite(file: Path) -> None:
    try:
        loaded = vectors.load(file)
    except ValueError as error:
        assert file.name in str(error)
        return
    for tensor in (*loaded.guidance, *loaded.activity, loaded.magnitudes):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    again = file.with_name("again")
    vectors.save(loaded, again)
    assert vectors.load(again).concepts == loaded.concepts


@FUZZ
@given(st.data())
def test_any_part_changed_cut_out_put_in_or_doubled(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start, end = sorted(data.draw(st.just((0, 0)) | st.tuples(*[st.integers(0, len(content))] * 2)))
    content[start:end] = data.draw(st.binary(max_size=20) | st.just(bytes(2 * content[start:end])))
    size = data.draw(st.none() | st.integers(0, 2**64 - 1))
    (tmp_path / "x").write_bytes(content if size is None else struct.pack("<Q", size) + content[8:])
    assert_refused_or_finite(tmp_path / "x")


@FUZZ
@given(
    st.sampled_from(TENSORS),
    st.sampled_from(DTYPES),
    st.lists(st.integers(-1, 3) | st.sampled_from([2**31, 2**40, 2**62, 2**64]), max_size=6),
    st.lists(st.integers(-1, 200) | st.just(2**62), min_size=2, max_size=2),
)
def test_any_size_and_type_that_a_header_may_claim(
    tmp_path: Path, whole: bytes, name: str, dtype: str, shape: list[int], offsets: list[int]
) -> None:
    header = header_of(whole)
    header[name] |= {"dtype": dtype, "shape": shape}
    (tmp_path / "x").write_bytes(with_header(whole, header))
    assert_refused_or_finite(tmp_path / "x")
    header[name]["data_offsets"] = offsets
    (tmp_path / "x").write_bytes(with_header(whole, header))
    assert_refused_or_finite(tmp_path / "x")


@FUZZ
@given(st.dictionaries(st.sampled_from(FIELDS), texts | st.none(), min_size=1, max_size=2))
def test_any_text_in_the_metadata(tmp_path: Path, whole: bytes, changes: dict[str, str | None]) -> None:
    header = header_of(whole)
    header["__metadata__"] |= changes
    header["__metadata__"] = {key: text for key, text in header["__metadata__"].items() if text is not None}
    (tmp_path / "x").write_bytes(with_header(whole, header))
    assert_refused_or_finite(tmp_path / "x")


@FUZZ
@given(
    st.sampled_from([*TENSORS, "guidance.1", "guidance.", "other"]),
    st.sampled_from(TYPES),
    st.lists(st.integers(0, 4), max_size=6),
    st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e39, 3e38, -1e300, 70000.0]),
)
def test_any_tensor_in_the_place_of_another(
    tmp_path: Path, whole: bytes, name: str, dtype: torch.dtype, shape: list[int], value: float
) -> None:
    (tmp_path / "whole").write_bytes(whole)
    tensors, metadata = tensor_file.read(tmp_path / "whole", vectors.KIND)
    for size in (shape, list(tensors[name].shape) if name in tensors else shape):
        number = value if dtype.is_floating_point else 1
        tensors[name] = torch.full(size, number, dtype=torch.float64).to(dtype)
        try:
            tensor_file.write(tmp_path / "x", vectors.KIND, tensors, metadata)
        except ValueError as error:
            assert name in str(error)
            return
        assert_refused_or_finite(tmp_path / "x")
