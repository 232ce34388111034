"""`triarch.files`: atomic writing, downloads from a local server, unpacking of hostile archives."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from triarch import files

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


# atomic_write


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_text("old")
    with files.atomic_write(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".keras"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with files.atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_kill_in_the_middle_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys\nfrom triarch.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_permissions_follow_the_old_file_or_the_umask(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("x")
    old.chmod(0o604)
    umask = os.umask(0o027)
    try:
        for path in (old, tmp_path / "new"):
            with files.atomic_write(path) as temporary:
                temporary.write_text("y")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o604
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with files.atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_folders_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="this is a folder"), files.atomic_write(tmp_path):
        pass
    with (
        pytest.raises(FileNotFoundError, match=r"missing.*does not exist"),
        files.atomic_write(tmp_path / "missing" / "a"),
    ):
        pass


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # the superuser may write anywhere
    with pytest.raises(PermissionError, match=r"Cannot write in the folder .*Permission denied"):
        files.atomic_write(tmp_path / "a").__enter__()


# download


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT as `server.behaviour` says, and writes down the ranges asked for."""

    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if self.path == "/missing":
            self.send_error(404)
            return
        known = self.headers.get("If-Range") in (None, server.tag)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.has_ranges and known else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        limit = server.limits.pop(0) if server.limits else len(server.content)
        self.wfile.write(server.content[start : start + limit])

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    content = CONTENT
    has_ranges = True
    tag = '"v1"'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.limits: list[int] = []  # bytes after which each connection breaks
        self.url = f"http://127.0.0.1:{self.server_port}/data.bin"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("file_hash", [None, SHA256, SHA256.upper(), MD5])
def test_a_download_arrives_whole(server: Server, tmp_path: Path, file_hash: str | None) -> None:
    path = files.download(server.url, tmp_path / "new" / "data.bin", file_hash)
    assert path.read_bytes() == CONTENT
    assert os.listdir(tmp_path / "new") == ["data.bin"]


def test_a_broken_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.limits = [100_000, 50_000]
    assert files.download(server.url, tmp_path / "data.bin", SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_from_the_part_file(server: Server, tmp_path: Path) -> None:
    server.limits = [1000] * 4
    with pytest.raises(ConnectionError, match=r"4,000 bytes are kept in .*data\.bin\.part"):
        files.download(server.url, tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()
    files.download(server.url, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=4000-"
    assert os.listdir(tmp_path) == ["data.bin"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.has_ranges = False
    server.limits = [1000]
    assert files.download(server.url, tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_not_mixed_with_the_old_one(server: Server, tmp_path: Path) -> None:
    server.limits = [1000] * 4
    with pytest.raises(ConnectionError):
        files.download(server.url, tmp_path / "data.bin")
    server.content, server.tag = CONTENT[::-1], '"v2"'
    assert files.download(server.url, tmp_path / "data.bin").read_bytes() == CONTENT[::-1]


def test_without_version_and_checksum_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    server.tag = ""
    server.limits = [1000]
    assert files.download(server.url, tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.ranges == [None, None]


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_file_that_is_already_complete_or_too_long(server: Server, tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT + extra)
    assert files.download(server.url, tmp_path / "data.bin", SHA256).read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_the_file_under_another_name(server: Server, tmp_path: Path) -> None:
    server.content = b"something else"
    for kept in ("data.bin.rejected", "data.bin.rejected-2"):
        with pytest.raises(files.ChecksumError, match=rf"Expected sha256: {SHA256}\. Received: .*{kept}'"):
            files.download(server.url, tmp_path / "data.bin", SHA256)
        assert (tmp_path / kept).read_bytes() == server.content
    assert not (tmp_path / "data.bin").exists()
    server.content = CONTENT
    assert files.download(server.url, tmp_path / "data.bin", SHA256).read_bytes() == CONTENT


def test_the_old_file_stays_when_a_new_download_fails(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_text("old")
    with pytest.raises(ConnectionError, match="404"):
        files.download(server.url.replace("data.bin", "missing"), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_text() == "old"
    assert os.listdir(tmp_path) == ["data.bin"]


def test_offline_the_error_says_where_to_put_the_file(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(ConnectionError, match=rf"{SHA256}.*put it here: '{tmp_path}/data\.bin'"):
        files.download(url, tmp_path / "data.bin", SHA256)


def test_two_callers_share_one_download(server: Server, tmp_path: Path) -> None:
    server.limits = [200_000]
    threads = [threading.Thread(target=files.download, args=(server.url, tmp_path / "data.bin")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 2


@pytest.mark.parametrize(("file_hash", "algorithm"), [("abc", "auto"), (MD5, "sha256"), (SHA256, "sha1")])
def test_checksums_of_another_form_are_refused(file_hash: str, algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected a checksum of 64 hexadecimal digits"):
        files.download("http://127.0.0.1:9/", tmp_path / "a", file_hash, algorithm)


def test_progress_is_for_terminals_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.download(server.url, tmp_path / "quiet.bin")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    files.download(server.url, tmp_path / "data.bin")
    assert "data.bin: 100% of 0.5 MB" in capsys.readouterr().err


# extract_archive


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o4755
    return info, b"text" if kind == tarfile.REGTYPE else b""


def zip_member(name: str, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o644) << 16
    return info


def write_zip(path: Path, *members: zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info in members:
            archive.writestr(info, "text")
    return path


def test_archives_are_unpacked(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar.gz", tar_member("d", tarfile.DIRTYPE), tar_member("d/x"), tar_member("./y"))
    archive = write_zip(tmp_path / "a.zip", zip_member("d/x"), zip_member("y"))
    for number, path in enumerate((tar, archive)):
        folder = tmp_path / f"out{number}"
        assert files.extract_archive(path, folder)
        assert (folder / "d" / "x").read_text() == (folder / "y").read_text() == "text"
        assert not (folder / "d" / "x").stat().st_mode & stat.S_ISUID


HOSTILE = {
    "up": tar_member("../evil"),
    "up inside": tar_member("a/../../evil"),
    "absolute": tar_member("/tmp/evil"),
    "symbolic link": tar_member("link", tarfile.SYMTYPE, "/etc"),
    "hard link": tar_member("link", tarfile.LNKTYPE, "good"),
    "device": tar_member("device", tarfile.CHRTYPE),
    "pipe": tar_member("pipe", tarfile.FIFOTYPE),
    "zip up": zip_member("../evil"),
    "zip absolute": zip_member("/tmp/evil"),
    "zip backslash": zip_member("..\\evil"),
    "zip link": zip_member("link", stat.S_IFLNK),
    "zip pipe": zip_member("pipe", stat.S_IFIFO),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_write_nothing(tmp_path: Path, case: str) -> None:
    member = HOSTILE[case]
    if isinstance(member, tuple):
        path = write_tar(tmp_path / "archive", tar_member("good"), member)
    else:
        path = write_zip(tmp_path / "archive", zip_member("good"), member)
    with pytest.raises(ValueError, match=r"holds a (path outside|link|device)"):
        files.extract_archive(path, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]


@pytest.mark.parametrize("cut", [5, 20, 0.5])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_damaged_archives_leave_the_old_folder(tmp_path: Path, kind: str, cut: float) -> None:
    names = [f"file{number}" for number in range(50)]
    if kind == "tar":
        path = write_tar(tmp_path / "archive", *map(tar_member, names))
    else:
        path = write_zip(tmp_path / "archive", *map(zip_member, names))
    content = bytearray(path.read_bytes())
    if kind == "zip":
        content[40:60] = b"\0" * 20
    else:
        content = content[: -int(cut if cut > 1 else len(content) * cut)]
    path.write_bytes(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        files.extract_archive(path, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["old"]


@pytest.mark.parametrize("archive_format", ["auto", "zip", ["tar"], None])
def test_what_is_no_archive_of_the_format_gives_false(tmp_path: Path, archive_format: str | None) -> None:
    (tmp_path / "a").write_text("no archive")
    assert not files.extract_archive(tmp_path / "a", tmp_path / "out", archive_format)
    assert not (tmp_path / "out").exists()


def test_unknown_archive_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Received: 'rar'"):
        files.extract_archive(tmp_path / "a", tmp_path / "out", "rar")
