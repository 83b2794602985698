"""moln cp: folders there and back; interrupted transfers go on; no key leaves the folder; bytes are compared."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from moln.client import make_client
from moln.connection import Connection
from moln.errors import CliError, Exit
from moln.s3url import S3Url
from moln.transfer.download import download_file
from moln.transfer.progress import Silent, StoppedError
from moln.transfer.upload import UploadOptions, upload_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shelf

MIB = 1024 * 1024
PART = 5 * MIB
SIZE = 4 * PART + 123


class StopsAfter(Silent):
    """A user who interrupts once so many bytes have moved."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def advance(self, size: int) -> None:
        """Count, and stop."""
        super().advance(size)
        self._left -= size
        if self._left <= 0:
            self.stop()


def _client(shelf: Shelf) -> Any:
    dev = shelf.dev
    return make_client(Connection(dev.endpoint, dev.access_key, dev.secret_key, "us-east-1", "test"))


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _plant(folder: Path) -> dict[str, bytes]:
    names = ["a", "deep/er/b", "deep/c d", "ö/å.txt", "100%+&?#=.bin", "empty", *(f"many/{n}" for n in range(40))]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode() * 10)
    return _tree(folder)


def test_a_folder_goes_there_and_back(shelf: Shelf) -> None:
    """Odd names, empty files, more files than workers: what comes back is what went, byte for byte."""
    planted = _plant(shelf.folder / "in")
    up = shelf.moln("cp", "-r", shelf.folder / "in", f"{shelf.url}/tree", "--json")
    assert (up.code, len(up.documents)) == (0, len(planted))
    assert sorted(shelf.keys()) == sorted(f"tree/{name}" for name in planted)
    assert shelf.moln("cp", "-r", f"{shelf.url}/tree", shelf.folder / "out", "-q").code == 0
    assert _tree(shelf.folder / "out") == planted
    assert shelf.moln("cp", "-r", f"{shelf.url}/tree/", f"{shelf.url}/copy").code == 0
    assert shelf.body("copy/deep/er/b") == planted["deep/er/b"]


def test_single_files_keep_or_change_their_name(shelf: Shelf) -> None:
    """A target that ends with / or is a bucket or a folder takes the source's name."""
    (shelf.folder / "f.txt").write_bytes(b"x")
    for target in (shelf.url, f"{shelf.url}/sub/", f"{shelf.url}/named"):
        assert shelf.moln("cp", shelf.folder / "f.txt", target).code == 0
    assert shelf.keys() == ["f.txt", "named", "sub/f.txt"]
    assert shelf.moln("cp", f"{shelf.url}/sub/f.txt", f"{shelf.url}/copied/").code == 0
    (shelf.folder / "out").mkdir()
    assert shelf.moln("cp", f"{shelf.url}/copied/f.txt", shelf.folder / "out").code == 0
    assert (shelf.folder / "out" / "f.txt").read_bytes() == b"x"


def test_a_dry_run_moves_nothing(shelf: Shelf) -> None:
    """It says what it would do."""
    planted = _plant(shelf.folder / "in")
    dry = shelf.moln("cp", "-r", "-n", shelf.folder / "in", shelf.url, "--json")
    assert {entry["copied"] for entry in dry.documents} == {False}
    assert len(dry.documents) == len(planted)
    assert shelf.keys() == []


def test_keys_never_leave_the_folder(shelf: Shelf) -> None:
    """A hostile key is refused by name, the others arrive, and the command says that something is missing."""
    s3 = shelf.dev.s3()
    for key in ("p/good", "p/../../evil", "p//absolute", "p/./dot", f"p/{'x' * 300}"):
        s3.put_object(Bucket=shelf.bucket, Key=key, Body=b"x")
    result = shelf.moln("cp", "-r", f"{shelf.url}/p", shelf.folder / "deep" / "out")
    assert result.code == 1
    assert "4 of 5 could not be copied" in result.err
    assert "p/../../evil: its key is no path below" in result.err
    assert _tree(shelf.folder) == {"deep/out/good": b"x"}


def test_folder_markers_become_folders(shelf: Shelf) -> None:
    """An empty object whose key ends with / is a folder, as other tools write them."""
    s3 = shelf.dev.s3()
    s3.put_object(Bucket=shelf.bucket, Key="d/", Body=b"")
    s3.put_object(Bucket=shelf.bucket, Key="d/e/", Body=b"")
    s3.put_object(Bucket=shelf.bucket, Key="d/f", Body=b"x")
    assert shelf.moln("cp", "-r", f"{shelf.url}/d", shelf.folder / "out").code == 0
    assert (shelf.folder / "out" / "e").is_dir()
    assert _tree(shelf.folder) == {"out/f": b"x"}


def test_what_cannot_be_read_is_told_and_the_rest_arrives(shelf: Shelf) -> None:
    """A broken link does not stop the others; nothing to copy is not found; a folder wants -r."""
    source = shelf.folder / "in"
    source.mkdir()
    (source / "good").write_bytes(b"x")
    (source / "broken").symlink_to("nowhere")
    result = shelf.moln("cp", "-r", source, shelf.url)
    assert (result.code, shelf.keys()) == (1, ["good"])
    assert "broken" in result.err
    assert shelf.moln("cp", "-r", f"{shelf.url}/nothing", shelf.folder / "out").code == 3
    assert shelf.moln("cp", source, shelf.url).code == 2
    assert shelf.moln("cp", shelf.folder / "absent", shelf.url).code == 3


def test_an_interrupted_upload_goes_on_where_it_stopped(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run sends only what is missing; a file that changed meanwhile is sent anew, whole."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shelf.folder / "cache"))
    path, target = shelf.folder / "big", S3Url(shelf.bucket, "big")
    path.write_bytes(os.urandom(SIZE))
    options = UploadOptions(part_size=PART, jobs=1)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoppedError):
            upload_file(_client(shelf), pool, path, target, options, StopsAfter(2 * PART))
        assert shelf.keys() == []
        done = upload_file(_client(shelf), pool, path, target, options, Silent())
        assert PART <= done.resumed_bytes < SIZE
        assert shelf.body("big") == path.read_bytes()
        with pytest.raises(StoppedError):
            upload_file(_client(shelf), pool, path, target, options, StopsAfter(2 * PART))
        path.write_bytes(os.urandom(SIZE))
        assert upload_file(_client(shelf), pool, path, target, options, Silent()).resumed_bytes == 0
    assert shelf.body("big") == path.read_bytes()


def test_a_part_that_differs_is_sent_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the server is compared by checksum, not believed: a resumed upload cannot mix in other bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shelf.folder / "cache"))
    path, target = shelf.folder / "big", S3Url(shelf.bucket, "big")
    path.write_bytes(os.urandom(SIZE))
    options = UploadOptions(part_size=PART, jobs=1)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoppedError):
            upload_file(_client(shelf), pool, path, target, options, StopsAfter(2 * PART))
        s3 = shelf.dev.s3()
        upload = s3.list_multipart_uploads(Bucket=shelf.bucket)["Uploads"][0]["UploadId"]
        s3.upload_part(Bucket=shelf.bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"y" * PART)
        upload_file(_client(shelf), pool, path, target, options, Silent())
    assert shelf.body("big") == path.read_bytes()


def test_an_interrupted_download_goes_on_where_it_stopped(shelf: Shelf) -> None:
    """No file under the target's name until it is whole; the second run reads only what is missing."""
    data = os.urandom(SIZE)
    shelf.dev.s3().put_object(Bucket=shelf.bucket, Key="big", Body=data)
    source, path = S3Url(shelf.bucket, "big"), shelf.folder / "big"
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoppedError):
            download_file(_client(shelf), pool, source, path, StopsAfter(2 * PART), each=PART)
        assert not path.exists()
        done = download_file(_client(shelf), pool, source, path, Silent(), each=PART)
    assert PART <= done.resumed_bytes < SIZE
    assert path.read_bytes() == data
    assert [entry.name for entry in shelf.folder.iterdir()] == ["big"]


def test_an_object_that_changed_is_read_anew(shelf: Shelf) -> None:
    """Parts of two versions never become one file."""
    s3 = shelf.dev.s3()
    s3.put_object(Bucket=shelf.bucket, Key="big", Body=b"a" * SIZE)
    source, path = S3Url(shelf.bucket, "big"), shelf.folder / "big"
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoppedError):
            download_file(_client(shelf), pool, source, path, StopsAfter(2 * PART), each=PART)
        s3.put_object(Bucket=shelf.bucket, Key="big", Body=b"b" * SIZE)
        assert download_file(_client(shelf), pool, source, path, Silent(), each=PART).resumed_bytes == 0
    assert path.read_bytes() == b"b" * SIZE


def test_bytes_that_are_not_the_objects_are_never_kept(shelf: Shelf) -> None:
    """A partial file that was tampered with is noticed at the end, dropped, and right at the next run."""
    data = os.urandom(SIZE)
    shelf.dev.s3().put_object(Bucket=shelf.bucket, Key="big", Body=data)
    source, path = S3Url(shelf.bucket, "big"), shelf.folder / "big"
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoppedError):
            download_file(_client(shelf), pool, source, path, StopsAfter(2 * PART), each=PART)
        with (shelf.folder / ".big.moln-part").open("r+b") as partial:
            partial.write(bytes([data[0] ^ 1]))
        with pytest.raises(CliError) as refused:
            download_file(_client(shelf), pool, source, path, Silent(), each=PART)
        assert refused.value.code == Exit.CORRUPT
        assert list(shelf.folder.iterdir()) == []
        download_file(_client(shelf), pool, source, path, Silent(), each=PART)
    assert path.read_bytes() == data


def test_objects_of_other_clients_are_compared_too(shelf: Shelf) -> None:
    """A multipart object of other part sizes and without checksums is compared by its ETag of parts."""
    s3 = shelf.dev.s3()
    upload = s3.create_multipart_upload(Bucket=shelf.bucket, Key="parts")["UploadId"]
    parts = []
    for number, body in enumerate((b"1" * 6 * MIB, b"2" * 6 * MIB, b"3"), 1):
        answer = s3.upload_part(Bucket=shelf.bucket, Key="parts", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(Bucket=shelf.bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    got = shelf.moln("get", f"{shelf.url}/parts", shelf.folder / "out", "--json")
    assert got.code == 0
    assert got.documents[0]["verified"]
    assert (shelf.folder / "out").stat().st_size == 12 * MIB + 1
