"""The original files of the data sets: what they are called, how they are told from others, where they are found."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from triarch import config, files

_UNPACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}


class Original(NamedTuple):
    """A file of a data set: its name, and the SHA-256 of its bytes unpacked and in the download that holds it."""

    name: str
    sha256: str
    download_sha256: str


class Source(NamedTuple):
    """A data set: its folder, the URL of a download (`{name}` stands for the file's name) and its files."""

    folder: str
    url: str
    originals: tuple[Original, ...]


_CIFAR10_ARCHIVE = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"

SOURCES = {
    "mnist": Source(
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz",
        (
            Original(
                "train-images-idx3-ubyte",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            Original(
                "train-labels-idx1-ubyte",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            Original(
                "t10k-images-idx3-ubyte",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            Original(
                "t10k-labels-idx1-ubyte",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion_mnist": Source(
        "fashion-mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}.gz",
        (
            Original(
                "train-images-idx3-ubyte",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            Original(
                "train-labels-idx1-ubyte",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            Original(
                "t10k-images-idx3-ubyte",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            Original(
                "t10k-labels-idx1-ubyte",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
    "cifar10": Source(
        "cifar-10",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        (
            Original(
                "data_batch_1.bin",
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                _CIFAR10_ARCHIVE,
            ),
            Original(
                "data_batch_2.bin",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                _CIFAR10_ARCHIVE,
            ),
            Original(
                "data_batch_3.bin",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                _CIFAR10_ARCHIVE,
            ),
            Original(
                "data_batch_4.bin",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                _CIFAR10_ARCHIVE,
            ),
            Original(
                "data_batch_5.bin",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                _CIFAR10_ARCHIVE,
            ),
            Original(
                "test_batch.bin",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
                _CIFAR10_ARCHIVE,
            ),
        ),
    ),
}
_SUBFOLDERS = (
    "",
    "cifar-10-batches-bin",
    "cifar-10-binary/cifar-10-batches-bin",
)  # the archive unpacked by hand, by us


def read(data_set: str, original: Original) -> bytes:
    """The bytes of an original file: from the folder of `TRIARCH_DATASETS`, the cache or a download, in this order.

    Raises:
        ConnectionError: the file is nowhere and cannot be downloaded; the message says where to put it.
        files.ChecksumError: the file found first is not the original; it is left where it is, unused.
    """
    path = find(data_set, original)
    if path is None:
        _download(data_set, original)
        path = find(data_set, original)
    if path is None:
        raise FileNotFoundError(f"The downloaded files of {data_set} do not hold {original.name!r}.")
    try:
        suffix = path.suffix.lower()
        content = _UNPACK[suffix if suffix in _UNPACK else ""](path.read_bytes())
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise files.ChecksumError(f"The file {str(path)!r} is damaged and is not used: {error}. {_REPLACE}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != original.sha256:
        raise files.ChecksumError(
            f"The file {str(path)!r} is not the original {original.name} of {data_set} and is not used. "
            f"Expected SHA-256 (unpacked): {original.sha256}. Received: {found}. {_REPLACE}"
        )
    return content


_REPLACE = "Move it away or put the original in its place; without it the original is looked for further or downloaded."


def read_idx(data_set: str, original: Original) -> np.ndarray:
    """The array of bytes in an idx file: two zeros, type 8, rank, sizes as big-endian 32-bit numbers, values."""
    content = read(data_set, original)
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4).tolist()
    return np.frombuffer(content, np.uint8, math.prod(shape), offset=4 + 4 * rank).reshape(shape).copy()


def _cache(data_set: str) -> Path:
    return config.home() / "datasets" / SOURCES[data_set].folder


def _places(data_set: str) -> Iterator[Path]:
    folder = config.datasets_folder()
    if folder is not None:
        if not folder.is_dir():
            raise NotADirectoryError(f"TRIARCH_DATASETS must name a folder. Received: {str(folder)!r}")
        yield folder / SOURCES[data_set].folder
    yield _cache(data_set)


def find(data_set: str, original: Original) -> Path | None:
    """Where the file is on this machine, packed or not; None where it is not."""
    for place in _places(data_set):
        for folder in (place / subfolder for subfolder in _SUBFOLDERS):
            for packing in (*_UNPACK, *map(str.upper, _UNPACK)):
                path = folder / (original.name + packing)
                if path.is_file():
                    return path
    return None


def _download(data_set: str, original: Original) -> None:
    """Put the download that holds `original` in the cache."""
    source = SOURCES[data_set]
    url = source.url.format(name=original.name)
    target = _cache(data_set) / url.rpartition("/")[2]
    try:
        if not target.exists():
            files.download(url, target, original.download_sha256)
        elif not files.matches(target, original.download_sha256):
            raise files.ChecksumError(
                f"The file {str(target)!r} is not the original of {url} and is not used. {_REPLACE}"
            )
    except ConnectionError as error:
        raise ConnectionError(
            f"The file {original.name!r} of the data set {data_set!r} is not on this machine. {error}. Or put it "
            f"(plain, .gz or .xz) in the subfolder {source.folder!r} of a folder and name that folder in the "
            "environment variable TRIARCH_DATASETS."
        ) from error
    if url.endswith(".tar.gz"):
        files.extract_archive(target, target.with_name(target.name.removesuffix(".tar.gz")), "tar")
