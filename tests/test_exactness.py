"""Numbers and texts on their way into arrays: the same ones arrive, or it is said which ones cannot."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from triarch import convolution, layers, utils
from triarch.exactness import as_type, unhidden

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", [*INTEGERS, *FLOATS, "object"])
def test_integers_arrive_or_are_refused(source: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    powers = [2**power + step for power in (0, 7, 8, 15, 16, 31, 32, 53, 62) for step in (-1, 0, 1)]
    for value in (*powers, *(-power for power in powers), limits.min, limits.max, limits.min - 1, limits.max + 1):
        try:
            with np.errstate(over="ignore"):
                array = np.array([0, value], source)
        except OverflowError:
            continue  # the source itself does not hold it
        held = array[1]
        if np.isfinite(float(held)) and limits.min <= int(held) <= limits.max:
            assert int(as_type(array, dtype, "x")[1]) == int(held)
        else:
            with pytest.raises(ValueError, match=rf"`x` has values that the type {dtype} has no room for"):
                as_type(array, dtype, "x")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("value", [0.5, -0.25, np.nan, np.inf, -np.inf])
def test_fractions_and_no_numbers_are_no_integers(value: float, dtype: str) -> None:
    for source in (*FLOATS, "object"):
        with pytest.raises(ValueError, match=dtype):
            as_type(np.array([1, value], source), dtype, "x")


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ([1e39], "float32", "1e.39 at place 0"),
        ([[0, 70_000]], "float16", "70000 at place 0, 1"),
        ([2**70], "int64", str(2**70)),
        ([1 + 2j], "float64", "2j"),
        (["abc", "d"], "<U2", "abc"),
        ([None], "int32", "NoneType"),
        ([{}], "float32", "dict"),
    ],
)
def test_what_a_type_has_no_room_for(values: Any, dtype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_type(values, dtype, "x")


def test_floats_are_rounded_and_infinities_stay() -> None:
    assert as_type([0.1, np.inf, -np.inf], "float32", "x").tolist() == [np.float32(0.1), np.inf, -np.inf]
    assert np.isnan(as_type([np.nan], "float16", "x")).all()
    assert as_type(["a", 2], object, "x").tolist() == ["a", 2]
    assert as_type([], "int8", "x").dtype == np.int8


MASKED = np.ma.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], mask=[[0, 0], [0, 1], [0, 0]])
OPEN = np.ma.array(MASKED.data, mask=False)
TAKERS: dict[str, Any] = {
    "pad_sequences": lambda x: utils.pad_sequences(x, dtype="float32"),
    "pad_sequences, a row": lambda x: utils.pad_sequences([[7, 8], x[1]], dtype="float32"),
    "timeseries, data": lambda x: utils.timeseries_dataset_from_array(x, None, 2)[0],
    "timeseries, targets": lambda x: utils.timeseries_dataset_from_array(np.zeros(3), x, 2)[0][1],
    "convolve": lambda x: convolution.convolve(x, np.ones((1, 1))),
    "convolve, kernel": lambda x: convolution.convolve(np.ones((4, 4)), x),
    "img_to_array": lambda x: utils.img_to_array(x[..., None]),
    "array_to_img": lambda x: np.asarray(utils.array_to_img(x[..., None])),
    "to_categorical": lambda x: utils.to_categorical(x),
    "Normalization": lambda x: layers.Normalization().adapt(x),
    "IntegerLookup": lambda x: layers.IntegerLookup(vocabulary=[1, 2]).adapt(x.astype(int)),
    "Hashing": lambda x: layers.Hashing(5)(x),
    "StringLookup": lambda x: layers.StringLookup(vocabulary=["1"])(x.astype(str)),
    "TextVectorization": lambda x: layers.TextVectorization(split=None).adapt(x.astype(str)),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_hidden_is_never_taken(taker: str) -> None:
    with pytest.raises(ValueError, match="masked array that hides"):
        TAKERS[taker](MASKED)
    assert repr(TAKERS[taker](OPEN)) == repr(TAKERS[taker](OPEN.data))
    assert unhidden(OPEN, "x") is OPEN


# Series


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2**31]],), r"`sequences\[0\]` .*int32 has no room for.*2147483648 at place 1"),
        (([[1], np.array([2**40])],), r"`sequences\[1\]` .*1099511627776"),
        (([[0.5]],), r"`sequences\[0\]` .*0\.5"),
        (([[np.nan]],), "nan"),
        (([[300]], None, "uint8"), "300"),
        (([[-1]], None, "uint8"), "-1"),
        (([["a"]],), "int32"),
        (([["abcd"]], None, "<U3", "pre", "pre", ""), "abcd"),
        (([[1]], 3, "int32", "pre", "pre", 0.5), "`value` .*0.5"),
        (([[1]], 3, "int32", "pre", "pre", np.nan), "`value` .*nan"),
        (([[1]], 3, "uint8", "pre", "pre", -1), "`value` .*-1"),
        (([[1]], -1), "`maxlen`"),
        (([[1]], 2.5), "`maxlen`"),
    ],
)
def test_series_that_a_type_cannot_hold(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        utils.pad_sequences(*arguments)


def test_series_of_texts_keep_them_whole() -> None:
    found = utils.pad_sequences([["longer", "x"], ["y"]], dtype=str, value="")
    assert found.tolist() == [["longer", "x"], ["", "y"]]
    found = utils.pad_sequences([["longer", 2], ["y"]], dtype=object, value=None)
    assert found.tolist() == [["longer", 2], [None, "y"]]
    assert utils.pad_sequences([[1.0, 2.0]]).tolist() == [[1, 2]]
    assert utils.pad_sequences([[2**40]], dtype="int64").tolist() == [[2**40]]
    assert utils.pad_sequences([[1, 2]], np.int64(1)).tolist() == [[2]]
    assert utils.pad_sequences([[1, 2], []], 0).shape == (2, 0)


@pytest.mark.parametrize(
    "labels", [[0.5], [np.nan], np.array([2**63], np.uint64), [1e300], torch.tensor([0.5]), torch.tensor([np.nan])]
)
def test_classes_are_whole(labels: Any) -> None:
    with pytest.raises(ValueError, match="`x`"):
        utils.to_categorical(labels, 3)
    assert (
        utils.to_categorical([1.0], 3).tolist() == utils.to_categorical(torch.tensor([1.0]), 3).tolist() == [[0, 1, 0]]
    )


# Texts

MISSING: dict[str, Any] = {
    "a list with None": ["a", None, "b"],
    "a list with NaN": ["a", float("nan"), "b"],
    "a list with NumPy's NaN": ["a", np.nan, "b"],
    "an array with None": np.array(["a", None, "b"], object),
    "an array with NaN": np.array(["a", np.nan, "b"], object),
    "a column": [["a"], [np.nan], ["b"]],
    "a number": ["a", 1.5, "b"],
    "bytes in Latin-1": [b"a", b"\xe4", b"b"],
}


@pytest.mark.parametrize("what", [*MISSING, "a Series", "a Series of strings", "a Series with NaT"])
@pytest.mark.parametrize("kind", ["TextVectorization", "StringLookup", "Hashing"])
@pytest.mark.parametrize("is_adapting", [True, False])
def test_a_missing_text_is_no_word(what: str, kind: str, is_adapting: bool) -> None:
    texts = MISSING.get(what)
    if texts is None:
        pandas = pytest.importorskip("pandas")
        texts = {
            "a Series": lambda: pandas.Series(["a", np.nan, "b"]),
            "a Series of strings": lambda: pandas.Series(["a", None, "b"], dtype="string"),
            "a Series with NaT": lambda: pandas.Series(["a", pandas.NaT, "b"], dtype=object),
        }[what]()
    settings = {"num_bins": 100} if kind == "Hashing" else {"vocabulary": ["a", "nan", "None"]}
    layer = getattr(layers, kind)(**settings)
    take = layer.adapt if is_adapting and kind != "Hashing" else layer
    with pytest.raises(ValueError, match=r"Expected strings.* at place 1"):
        take(texts)


def test_texts_of_every_form_are_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    layer = layers.StringLookup(vocabulary=["ä", "b"])
    forms = [
        ["ä", "b"], ("ä", "b"), np.array(["ä", "b"]), np.array(["ä", "b"], object), ["ä".encode(), b"b"],
        np.array(["ä".encode(), b"b"]), pandas.Series(["ä", "b"]), pandas.Series(["ä", "b"], dtype="string"),
        pandas.Series(["ä", "b"], dtype="category"), [np.str_("ä"), np.bytes_("b")], np.ma.array(["ä", "b"]),
    ]  # fmt: skip
    for form in forms:
        assert layer(form).tolist() == [1, 2]
    assert layer("b").tolist() == 2
    assert layer([["ä"], ["b"]]).tolist() == [[1], [2]]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_integers_beyond_64_bits_are_refused(value: int) -> None:
    for layer in (layers.Hashing(5), layers.IntegerLookup(vocabulary=[1])):
        with pytest.raises(ValueError, match=r"int64.*Received: \d+"):
            layer(np.array([1, value], np.uint64))
    with pytest.raises(ValueError, match="int64"):
        layers.Hashing(5)([1.0, 1e300])


def test_a_vocabulary_in_any_encoding_with_a_mark(tmp_path: Any) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "words.txt").write_bytes("größe\r\nb\u2028c\r\n".encode(encoding))
        assert layers.StringLookup(vocabulary=tmp_path / "words.txt").get_vocabulary() == ["[UNK]", "größe", "b\u2028c"]
    (tmp_path / "words.txt").write_bytes("b\ngröße\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"words\.txt' .*0xf6 at position 4, line 2"):
        layers.StringLookup(vocabulary=tmp_path / "words.txt")


# Means


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_numbers_far_from_zero_are_normalised_in_double_precision(offset: float) -> None:
    data = np.random.default_rng(0).normal(size=(50, 3))
    layer = layers.Normalization(dtype="float64")
    layer.adapt(data + offset)
    expected = (data - data.mean(0)) / data.std(0)
    np.testing.assert_allclose(layer(data + offset).numpy(), expected, atol=1e-3 if offset == -1e12 else 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 1, -3e30])
def test_a_constant_becomes_zero(value: float) -> None:
    for dtype in ("float32", "float64"):
        layer = layers.Normalization(dtype=dtype)
        layer.adapt(np.full((7, 2), value))
        assert layer(np.full((3, 2), value)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (1e300, "adapts to numbers whose mean and variance")],
)
def test_means_that_are_no_numbers_are_refused(value: float, words: str) -> None:
    layer = layers.Normalization()
    with pytest.raises(ValueError, match=words):
        layer.adapt(np.array([[1.0, value], [2.0, 3.0]]))


def test_it_is_said_where_single_precision_does_not_tell_numbers_apart() -> None:
    data = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.warns(UserWarning, match="so far from zero.*means"):
        layers.Normalization().adapt(data + 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.Normalization().adapt(data + 1e3)
        layers.Normalization(dtype="float64").adapt(data + 1e9)
        layers.Normalization().adapt(np.full((5, 2), 1e9))
