"""The fields of a contract: what each may be (impossible values through the contract itself are in test_input_contract.py)."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from umsrep.errors import InputError
from umsrep.zoo import InputContract
from umsrep.zoo.contract_fields import Colour, Photometric, Resize, Unit, check_fields


@pytest.mark.parametrize(("field", "choices"), [("unit", Unit), ("resize", Resize), ("photometric", Photometric), ("colour", Colour)])
def test_every_choice_is_legal_and_others_are_not(field: str, choices: object) -> None:
    window = (0.0, 1.0) if field == "unit" else None
    for choice in get_args(choices):
        assert getattr(InputContract.from_dict({field: choice, "window": window}), field) == choice
    with pytest.raises(InputError, match=rf"contract: unknown {field} 'x'"):
        InputContract.from_dict({field: "x"})
    with pytest.raises(InputError, match=rf"contract: {field} must be a text"):
        InputContract.from_dict({field: None})


def test_a_contract_of_every_default_passes_and_every_field_is_documented() -> None:
    check_fields(InputContract())
    for field in dataclasses.fields(InputContract):
        assert f"        {field.name}: " in (InputContract.__doc__ or "")


@pytest.mark.parametrize("field", ["window", "percentiles", "expected_range"])
@pytest.mark.parametrize("value", [5, "ab", (1,), (1, 2, 3), (2, 1), (1, 1), (True, 2), (0, float("nan")), (0, float("inf"))])
def test_pairs(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"contract: {field} must be"):
        InputContract.from_dict({field: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 1025}, "channels must be 1,024 or fewer"),
        ({"channels": 3, "size": 8192}, "201,326,592 values; 100,663,296 are the most"),
        ({"mean": 10**400}, "mean must be -1e"),
        ({"std": 1e-320}, "std must be 1e-06"),
        ({"window": (0, 1e-50)}, "apart in float32"),
        ({"window": (0, 10**400)}, "apart in float32"),
        ({"mean": "x" * 1000}, r"made of numbers, not 'x+\.\.\.$"),
    ],
    ids=str,
)
def test_values_that_would_fill_memory_or_leave_float32(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"contract: .*{message}"):
        InputContract.from_dict(values)
