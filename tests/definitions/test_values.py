"""Text forms that clients compare by."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.values import object_text, parameters_text, real_text, text_form


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (2.0**53, "9007199254740992"),
        (1e20, "100000000000000000000"),
        (1.2345678901234568e20, "123456789012345680000"),
        (-1.5e17, "-150000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (5e-324, "5e-324"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_reals_print_as_the_reference_prints_them(value: float, text: str) -> None:
    assert real_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_real_means_itself(value: float) -> None:
    assert float(real_text(value)) == value


@given(
    st.dictionaries(
        st.text(),
        st.one_of(
            st.none(), st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(allow_nan=False, allow_infinity=False)
        ),
    )
)
def test_an_object_is_json_in_order_with_reals_told_from_integers(row: dict[str, int | str | float | None]) -> None:
    read = json.loads(object_text(row))
    assert list(read.items()) == list(row.items())
    assert [type(value) for value in read.values()] == [type(value) for value in row.values()]


def test_blobs_are_left_out_of_objects() -> None:
    assert object_text({"a": 1, "b": b"x", "c": None}) == b'{"a":1,"c":null}'
    assert object_text({"b": b"x"}) == b"{}"


def test_parameters_do_not_tell_integral_reals_from_integers() -> None:
    assert parameters_text([2.0, 2, "2", None, 1.5]) == '[2,2,"2",null,1.5]'
    assert parameters_text([9223372036854775807, 1e21]) == "[9223372036854775807,1e+21]"


def test_text_forms() -> None:
    assert [text_form(value) for value in ("x", 5, 1.0, None, b"x")] == ["x", "5", "1", None, None]
