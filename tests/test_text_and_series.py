"""From texts, tokens and long series to what models take. What is expected here is what Keras gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import triarch
from triarch import layers, utils

TEXTS = ["The cat, the dog!", "a cat sat on the mat", "Dogs and cats; cats and dogs", "", "it's  x-ray\ttime"]
NEW = np.array(["the unknown cat", "dogs", "mat on the cat, cats"])


def adapted(**settings):
    layer = layers.TextVectorization(**settings)
    layer.adapt(np.array(TEXTS))
    return layer


def test_texts_become_rows_of_numbers():
    layer = adapted(max_tokens=8)
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "dogs", "cats", "cat", "and", "xray"]
    assert layer(NEW).tolist() == [[2, 1, 5, 0, 0], [3, 0, 0, 0, 0], [1, 1, 2, 5, 4]]
    assert layer(NEW[:, None]).tolist() == layer(NEW).tolist()
    assert layer("the cat").tolist() == [2, 5]
    assert layer(list(NEW)).dtype == torch.int64


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"output_sequence_length": 2}, [[2, 1], [3, 0], [1, 1]]),
        ({"output_mode": "count"}, [[1, 1, 0, 0, 1], [0, 0, 1, 0, 0], [2, 1, 0, 1, 1]]),
        ({"output_mode": "multi_hot"}, [[1, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 1, 0, 1, 1]]),
        ({"split": None, "standardize": None}, [1, 1, 1]),
        ({"output_mode": "count", "ngrams": (2,), "max_tokens": 3}, [[2, 0, 0], [0, 0, 0], [4, 0, 0]]),
    ],
)
def test_modes(settings, expected):
    settings = {"max_tokens": 7 if settings.get("output_mode", "int") == "int" else 5} | settings
    assert adapted(**settings)(NEW).tolist() == expected


def test_rare_words_weigh_more():
    layer = adapted(output_mode="tf_idf")
    vocabulary = layer.get_vocabulary()
    weights = dict(zip(vocabulary, layer(["the mat cat mat"])[0].tolist(), strict=True))
    assert weights["the"] == pytest.approx(np.log(1 + 5 / 3))
    assert weights["mat"] == pytest.approx(2 * np.log(1 + 5 / 2))
    assert weights["dogs"] == 0


def test_own_functions_split_and_standardize():
    layer = adapted(standardize=lambda text: text.replace("a", "e"), split=lambda text: text.split("e"))
    assert "t, th" in layer.get_vocabulary()


def test_vocabularies_are_kept_as_data(tmp_path):
    layer = adapted(output_mode="tf_idf", ngrams=2)
    again = type(layer).from_config(layer.get_config())
    torch.testing.assert_close(again(NEW), layer(NEW))
    (tmp_path / "words.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert layers.StringLookup(vocabulary=tmp_path / "words.txt")(["two", "three"]).tolist() == [2, 0]
    with pytest.raises(ValueError, match="files are read only where a program names them"):
        layers.StringLookup.from_config({"vocabulary": str(tmp_path / "words.txt")})


TOKENS = np.array([["a", "b", "c"], ["b", "c", "z"], ["c", "c", "a"]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[3, 0, 1], [1, 2, 0]]),
        ({"mask_token": ""}, [[4, 1, 2], [2, 3, 1]]),
        ({"output_mode": "multi_hot"}, [[1, 1, 0, 1, 0], [1, 1, 1, 0, 0]]),
        ({"output_mode": "count", "max_tokens": 2}, [[2, 1], [2, 1]]),
    ],
)
def test_strings_become_numbers(settings, expected):
    layer = layers.StringLookup(**settings)
    layer.adapt(TOKENS)
    assert layer(np.array([["a", "q", "c"], ["c", "b", "r"]])).tolist() == expected


def test_one_hot_codes():
    layer = layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
    assert layer(["y", "?"]).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert layer([["y"], ["?"]]).shape == (2, 3)
    assert layer([["y", "x"]]).shape == (1, 2, 3)


def test_numbers_become_strings_again():
    layer = layers.StringLookup(vocabulary=["x", "y"], mask_token="", invert=True)
    assert layer([[0, 1, 2, 3, 9]]).tolist() == [["", "[UNK]", "x", "y", "[UNK]"]]
    assert layer(torch.tensor([3])).tolist() == ["y"]


def test_integers_become_numbers():
    layer = layers.IntegerLookup(num_oov_indices=3, mask_token=0)
    layer.adapt(np.array([[12, 7, 5], [7, 5, 100], [5, 5, 12]]))
    assert layer.get_vocabulary() == [0, -1, -1, -1, 5, 12, 7, 100]
    assert layer(torch.tensor([[12, 8, 5], [0, 100, 33]])).tolist() == [[5, 3, 4], [0, 7, 1]]


# Lengths, and what TensorFlow gives for the beginning of this length of a text: to_hash_bucket_fast and _strong.
HASHES = [
    (0, 11160318154034397263, 4928313950774450900),
    (3, 12029777647776983593, 5323061510108871987),
    (7, 7659363271842878596, 5616559309021896275),
    (8, 9058813721459643323, 9575296505772166649),
    (16, 7393926578950783487, 14429991754659018669),
    (17, 18067460449814442144, 8649031489099186703),
    (32, 11420658783794891032, 13994743397545184150),
    (33, 6012925812250616180, 14124128939386550461),
    (64, 10648853159303241166, 2924183170041727731),
    (65, 781081260321505371, 9666685103803245886),
    (128, 16160478115287141677, 552598498080571399),
    (200, 16039984217358236802, 16105478687501132329),
]


@pytest.mark.parametrize(("length", "fast", "strong"), HASHES)
def test_hashes_are_those_of_tensorflow(length, fast, strong):
    text = ("x1y22z333" * 30)[:length]
    bins = 2**61 - 1
    assert layers.Hashing(bins)([text]).tolist() == [fast % bins]
    assert layers.Hashing(bins, salt=[133, 137])([text]).tolist() == [strong % bins]


LETTERS = [["A"], ["B"], ["C"], ["D"], ["E"]]


# Source: the examples of Keras's documentation.
@pytest.mark.parametrize(
    ("settings", "tokens", "expected"),
    [
        ({}, LETTERS, [1, 0, 1, 1, 2]),
        ({"mask_value": ""}, [["A"], ["B"], [""], ["C"], ["D"]], [1, 1, 0, 2, 2]),
        ({"salt": [133, 137]}, LETTERS, [1, 2, 1, 0, 2]),
        ({"salt": 133}, LETTERS, [0, 0, 2, 1, 0]),
    ],
)
def test_tokens_become_bins(settings, tokens, expected):
    layer = layers.Hashing(3, **settings)
    assert layer(tokens)[:, 0].tolist() == expected
    again = layers.Hashing.from_config(layer.get_config())
    assert torch.equal(again(np.array(tokens)), layer(tokens))


def test_bins_of_integers_and_as_vectors():
    layer = layers.Hashing(4, mask_value=-1)
    found = layer(torch.tensor([[5, -1], [7, 5]]))
    assert found[0, 1] == 0
    assert found[0, 0] == found[1, 1] > 0
    assert torch.equal(layer([[5.9, -1.0], [7.2, 5.0]]), found)
    counts = layers.Hashing(4, mask_value=-1, output_mode="count")([[5, -1, 5], [7, 7, 7]])
    assert counts.shape == (2, 4)
    assert counts.sum(1).tolist() == [3.0, 3.0]
    assert counts[0, found[0, 0]] == 2
    assert layers.Hashing(4, output_mode="multi_hot")([[7, 7, 7]]).sum() == 1
    assert layers.Hashing(4, output_mode="one_hot")([[5], [7]]).shape == (2, 4)
    for mode, given in (("int", (2, 3)), ("one_hot", (2, 1)), ("count", (2, 3)), ("one_hot", (2, 3))):
        made = layers.Hashing(4, output_mode=mode)
        assert tuple(made(np.ones(given, np.int64)).shape) == made.compute_output_shape(given)


def test_unknown_strings_have_several_numbers():
    layer = layers.StringLookup(vocabulary=["a", "b"], num_oov_indices=3, mask_token="")
    unknown = [f"word {number}" for number in range(40)]
    found = layer(["a", "", *unknown])
    assert found[:2].tolist() == [4, 0]
    assert set(found[2:].tolist()) == {1, 2, 3}
    assert (found[2:] - 1).tolist() == layers.Hashing(3)(unknown).tolist()


def test_numbers_feed_an_embedding():
    layer = adapted()
    model = triarch.Sequential(
        [
            layers.Input((None,)),
            layers.Embedding(layer.vocabulary_size(), 4, mask_zero=True),
            layers.GRU(3),
            layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    model.fit(layer(np.array(TEXTS)), np.ones((5, 1)), verbose=0)
    assert model.predict(layer(NEW), verbose=0).shape == (3, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.TextVectorization()(["x"]), "has no vocabulary yet"),
        (lambda: layers.TextVectorization(ragged=True), "ragged"),
        (lambda: layers.TextVectorization(split="words"), "`split`"),
        (lambda: layers.TextVectorization(ngrams=0), "`ngrams`"),
        (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "output_sequence_length"),
        (lambda: adapted()([["a", "b"]]), "takes texts"),
        (lambda: adapted()([1, 2]), "Expected strings"),
        (lambda: adapted()([["a"], ["b", "c"]]), "same number of strings"),
        (lambda: layers.StringLookup(vocabulary=["x", "x"]), "comes once"),
        (lambda: layers.StringLookup(vocabulary=[]), "at least one token"),
        (lambda: layers.StringLookup(vocabulary=["x", "y"], max_tokens=2), "may be 2 tokens"),
        (lambda: layers.StringLookup(vocabulary=["x"], output_mode="tf_idf"), "idf_weights"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "`num_oov_indices`"),
        (lambda: layers.Hashing(0), "`num_bins`"),
        (lambda: layers.Hashing(3, salt=[1, 2, 3]), "`salt`"),
        (lambda: layers.Hashing(3, output_mode="tf_idf"), "`output_mode`"),
        (lambda: layers.Hashing(3)([float("nan")]), "finite"),
        (lambda: layers.Hashing(3)([None]), "Expected strings"),
        (lambda: layers.StringLookup(vocabulary=["x"], num_oov_indices=0)(["y"]), "no number for unknown tokens"),
        (lambda: layers.StringLookup(output_mode="many"), "`output_mode`"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), "`invert`"),
        (lambda: layers.StringLookup().adapt(np.array([], dtype=str)), "found no tokens"),
        (lambda: layers.IntegerLookup(vocabulary=[1])([1.5]), "takes integers"),
        (lambda: utils.pad_sequences([1, 2]), "list of lists"),
        (lambda: utils.pad_sequences([[1]], padding="left"), "`padding`"),
        (lambda: utils.pad_sequences([[[1, 2]], [[1]]]), "steps of shape"),
        (lambda: utils.timeseries_dataset_from_array(np.arange(3), None, 4), "A window takes 4 steps"),
        (lambda: utils.timeseries_dataset_from_array(np.arange(9), None, 4, sampling_rate=0), "`sampling_rate`"),
        (lambda: utils.timeseries_dataset_from_array(np.arange(9), None, 4, start_index=9), "start_index"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_series_of_different_lengths():
    series = [[1, 2, 3], [], [4]]
    assert utils.pad_sequences(series).tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 4]]
    assert utils.pad_sequences(series, 2, padding="post").tolist() == [[2, 3], [0, 0], [4, 0]]
    assert utils.pad_sequences(series, 2, "float32", truncating="post", value=-1).tolist() == [
        [1, 2],
        [-1, -1],
        [-1, 4],
    ]
    assert utils.pad_sequences([np.ones((2, 3)), np.ones((1, 3))]).shape == (2, 2, 3)
    assert utils.pad_sequences([]).shape == (0, 0)


def test_windows_of_a_series():
    series = np.arange(20)
    windows = utils.timeseries_dataset_from_array(
        series, series[:14] * 10, 4, sampling_rate=2, start_index=3, end_index=15, batch_size=3
    )
    batches = [windows[number] for number in range(len(windows))]
    assert batches[0][0].tolist() == [[3, 5, 7, 9], [4, 6, 8, 10], [5, 7, 9, 11]]
    assert [y.tolist() for _, y in batches] == [[30, 40, 50], [60, 70, 80]]
    single = utils.timeseries_dataset_from_array(series, None, 4, sequence_stride=3, batch_size=None)
    assert single[1].tolist() == [3, 4, 5, 6]
    assert len(single) == 6


def test_windows_are_mixed_anew_in_each_epoch():
    made = [utils.timeseries_dataset_from_array(np.arange(50), None, 3, shuffle=True, seed=1) for _ in range(2)]
    first = made[0][0].copy()
    np.testing.assert_array_equal(first, made[1][0])
    made[0].on_epoch_end()
    assert (made[0][0] != first).any()
    assert sorted(made[0][0][:, 0]) == list(range(48))


def test_a_model_learns_from_windows():
    series = np.sin(np.arange(200) / 5).astype("float32")[:, None]
    windows = utils.timeseries_dataset_from_array(series[:-1], series[10:], 10, batch_size=32)
    model = triarch.Sequential([layers.SimpleRNN(8), layers.Dense(1)])
    model.compile(triarch.optimizers.Adam(0.02), "mse")
    losses = model.fit(windows, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]


@pytest.fixture
def folder(tmp_path):
    for name, texts in {"neg": ["bad", "awful", "böse"], "pos": ["good"]}.items():
        (tmp_path / name).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / name / f"{number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "pos" / "notes.md").write_text("no text")
    return tmp_path


def test_texts_in_folders(folder):
    texts = utils.text_dataset_from_directory(folder, shuffle=False, batch_size=3)
    assert texts.class_names == ["neg", "pos"]
    (first, labels), (second, others) = texts[0], texts[1]
    assert first.tolist() == ["bad", "awful", "böse"]
    assert second.tolist() == ["good"]
    assert (labels.tolist(), others.tolist()) == ([0, 0, 0], [1])


def test_labels_of_texts(folder):
    settings = {"shuffle": False, "batch_size": None, "max_length": 2}
    assert utils.text_dataset_from_directory(folder, label_mode="categorical", **settings)[3][1].tolist() == [0, 1]
    assert utils.text_dataset_from_directory(folder, label_mode="binary", **settings)[3][1].tolist() == [1]
    assert utils.text_dataset_from_directory(folder, labels=None, **settings)[1] == "aw"
    reversed_names = utils.text_dataset_from_directory(folder, class_names=["pos", "neg"], **settings)
    assert reversed_names[0][1] == 0
    assert reversed_names[0][0] == "go"


def test_parts_of_a_folder(folder):
    training, validation = utils.text_dataset_from_directory(folder, validation_split=0.5, subset="both", seed=1)
    texts = [*training[0][0], *validation[0][0]]
    assert sorted(texts) == ["awful", "bad", "böse", "good"]
    again = utils.text_dataset_from_directory(folder, validation_split=0.5, subset="validation", seed=1)
    assert set(again[0][0]) == set(validation[0][0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_mode": "word"}, "`label_mode`"),
        ({"validation_split": 0.5}, "`subset`"),
        ({"validation_split": 1.5, "subset": "both", "seed": 1}, "between 0 and 1"),
        ({"validation_split": 0.5, "subset": "both"}, "`seed`"),
        ({"class_names": ["neu"]}, "some of the folders"),
        ({"labels": [1, 2]}, "there are 4 in"),
    ],
)
def test_folders_are_asked_for_rightly(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        utils.text_dataset_from_directory(folder, **settings)


def test_a_folder_without_texts(tmp_path):
    with pytest.raises(ValueError, match="a folder for each class"):
        utils.text_dataset_from_directory(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no \.txt files"):
        utils.text_dataset_from_directory(tmp_path)
