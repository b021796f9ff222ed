"""What the fuzz tests draw from: anything that a file, a link or a user may bring."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]

numbers = st.one_of(
    st.floats(),
    st.integers(-20000, 20000),
    st.sampled_from([0, 1, -1, 0.5, 1 - 2**-53, math.nan, math.inf, -math.inf, 1e308, 2**31, 2**63, 10**400, True]),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=5,
)
