"""Image files in the official formats: written here in small, served here, and the real ones."""

import gzip
import hashlib
import tarfile
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from urgates.lab.tasks import Pixels, bit_reversal, data
from urgates.lab.tasks.fetch import fetch


def idx(array):
    magic = (0x0800 + array.ndim).to_bytes(4, "big")
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(magic + sizes + array.tobytes())


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Twenty training and ten test images of MNIST and of CIFAR-10, below $URGATES_DATA."""
    monkeypatch.setenv("URGATES_DATA", str(tmp_path))
    monkeypatch.delenv("URGATES_DATA_UNCHECKED", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mnist, cifar = data.FORMATS["mnist"], data.FORMATS["cifar10"]
    random = np.random.default_rng(0)
    draw = partial(random.integers, dtype=np.uint8)
    arrays = draw(256, size=(20, 28, 28)), draw(10, size=20)
    arrays += draw(256, size=(10, 28, 28)), draw(10, size=10)
    (tmp_path / "mnist").mkdir()
    for name, array in zip(mnist.files, arrays, strict=True):
        (tmp_path / "mnist" / name).write_bytes(idx(array))
    (tmp_path / cifar.folder).mkdir()
    for name in cifar.files:
        n = 10 if name == "test_batch.bin" else 4
        records = np.hstack([draw(10, size=(n, 1)), draw(256, size=(n, 3072))])
        (tmp_path / cifar.folder / name).write_bytes(records.tobytes())
    nowhere = "http://127.0.0.1:9/"
    for name, form, url in (
        ("mnist", mnist, nowhere),
        ("cifar10", cifar, nowhere + "cifar.tar.gz"),
    ):
        contents = [(tmp_path / form.folder / file).read_bytes() for file in form.files]
        if name == "mnist":
            contents = [gzip.decompress(content) for content in contents]
        sha256 = tuple(hashlib.sha256(content).hexdigest() for content in contents)
        form = replace(form, train=20, test=10, url=url, sha256=sha256)
        monkeypatch.setitem(data.FORMATS, name, form)
    return tmp_path, arrays


def test_mnist_is_read_as_written(tiny):
    _, arrays = tiny
    x, y, x_test, y_test = data.load("mnist")
    assert np.array_equal(x.view(20, 28, 28), arrays[0]) and np.array_equal(y, arrays[1])
    assert np.array_equal(x_test.view(10, 28, 28), arrays[2]) and np.array_equal(y_test, arrays[3])
    task = Pixels("mnist", permuted=True)
    assert [len(task.split(name)[1]) for name in ("train", "valid", "test")] == [18, 2, 10]
    x, y = next(task.evaluate_batches("test", 10))
    flat = torch.from_numpy(arrays[2].reshape(10, 784, 1))
    torch.testing.assert_close(x, flat[:, bit_reversal(784)] / 255)
    assert (task.name, task.input_size, task.length) == ("pmnist", 1, 784)


def test_cifar_is_read_as_written_and_normalised_per_channel(tiny):
    root, _ = tiny
    record = np.fromfile(root / "cifar-10-batches-bin/data_batch_2.bin", np.uint8)[:3073]
    x, y, *_ = data.load("cifar10")
    assert y[4] == record[0] and np.array_equal(x[4].T.flatten(), record[1:])
    task = Pixels("cifar10")
    x, _ = next(task.evaluate_batches("train", 3))
    red, green, blue = (task.split("train")[0][:3].double() / 255).unbind(2)
    expected = [(red - 0.4914) / 0.247, (green - 0.4822) / 0.243, (blue - 0.4465) / 0.261]
    torch.testing.assert_close(x.double(), torch.stack(expected, dim=2), atol=1e-5, rtol=0)
    assert (task.name, task.input_size, task.length) == ("scifar", 3, 1024)


def rewrite(change):
    """A damage: unpack the file, change its bytes, pack it again."""
    return lambda raw: gzip.compress(change(gzip.decompress(raw)))


IMAGES, LABELS = "mnist/train-images-idx3-ubyte.gz", "mnist/t10k-labels-idx1-ubyte.gz"
DAMAGES = [
    (IMAGES, lambda raw: raw[: len(raw) // 2], "not a whole gzip file"),
    (IMAGES, lambda raw: raw[:-4], "not a whole gzip file"),
    (IMAGES, lambda raw: raw[:10] + b"\xff" * 20 + raw[30:], "not a whole gzip file"),
    (IMAGES, lambda raw: b"", "it starts with"),
    (IMAGES, lambda raw: b"<html>no such file</html>", "not a whole gzip file"),
    (IMAGES, lambda raw: raw[:99] + bytes([raw[99] ^ 255]) + raw[100:], "not a whole gzip file"),
    (IMAGES, rewrite(lambda raw: b"\0\0\x08\x01" + raw[4:]), "it starts with 00000801"),
    (IMAGES, rewrite(lambda raw: raw[:7] + b"\x15" + raw[8:]), "it starts with 00000803 00000015"),
    (
        IMAGES,
        rewrite(lambda raw: raw[:-1]),
        "15679 bytes instead of the expected 15680 bytes after",
    ),
    (
        IMAGES,
        rewrite(lambda raw: raw + b"\0"),
        "more than the expected 15680 bytes after the header",
    ),
    (LABELS, rewrite(lambda raw: raw[:-1] + b"\x0a"), "it has label 10, expected 0 to 9"),
    (LABELS, rewrite(lambda raw: raw[:3]), "it starts with 000008, expected 00000801 0000000a"),
    ("cifar-10-batches-bin/data_batch_3.bin", lambda raw: raw[:-1], "12291 bytes, expected 4"),
    ("cifar-10-batches-bin/data_batch_1.bin", lambda raw: raw[3073:], "9219 bytes, expected 4"),
    ("cifar-10-batches-bin/test_batch.bin", lambda raw: b"", "0 bytes, expected 10 records"),
    ("cifar-10-batches-bin/test_batch.bin", lambda raw: b"\x0b" + raw[1:], "it has label 11"),
]


@pytest.mark.parametrize("unchecked", ["", "mnist, cifar10"])
@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_file_is_refused_by_name(tiny, monkeypatch, name, damage, message, unchecked):
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", unchecked)
    path = tiny[0] / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message if unchecked else "SHA-256|" + message) as error:
        data.load("mnist" if "mnist" in name else "cifar10")
    assert str(path) in str(error.value) and "delete the file" in str(error.value)


def changed(at):
    """A damage that no count shows: another bit at one place."""
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    ("dataset", "file", "damage"),
    [
        ("mnist", IMAGES, rewrite(changed(16 + 784 * 7))),
        ("mnist", LABELS, rewrite(changed(8))),
        ("cifar10", "cifar-10-batches-bin/data_batch_5.bin", changed(0)),
        ("cifar10", "cifar-10-batches-bin/test_batch.bin", changed(3073 * 10 - 1)),
    ],
)
def test_one_changed_label_or_pixel_is_refused_unless_it_is_your_own_copy(
    tiny, monkeypatch, dataset, file, damage
):
    published, path = data.load(dataset), tiny[0] / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="its content has SHA-256") as error:
        data.load(dataset)
    for part in (str(path), "as published", f"URGATES_DATA_UNCHECKED={dataset}"):
        assert part in str(error.value)
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", {"mnist": "cifar10", "cifar10": "mnist"}[dataset])
    with pytest.raises(ValueError, match="its content has SHA-256"):
        data.load(dataset)  # another one's
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", dataset)
    own = data.load(dataset)
    assert sum((a != b).sum() for a, b in zip(published, own, strict=True)) == 1


def test_unchecked_names_data_sets(tiny, monkeypatch):
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", "1")
    with pytest.raises(ValueError, match=r"must name data sets among mnist, cifar10.*got '1'"):
        data.load("mnist")


def test_packed_anew_the_published_content_is_accepted(tiny):
    before, path = data.load("mnist"), tiny[0] / IMAGES
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert all(torch.equal(a, b) for a, b in zip(before, data.load("mnist"), strict=True))


@pytest.mark.parametrize("name", [IMAGES, "cifar-10-batches-bin/test_batch.bin"])
def test_a_bomb_is_not_unpacked_to_see_its_end(tiny, name):
    path, size = tiny[0] / name, 1 << 26
    with gzip.open(path, "wb", 1) if name == IMAGES else path.open("wb") as file:
        if name == IMAGES:
            file.write(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (20, 28, 28)))
            for _ in range(size >> 22):
                file.write(bytes(1 << 22))
        else:
            file.truncate(size)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than the expected|67108864 bytes, expected 10"):
        data.load("mnist" if name == IMAGES else "cifar10")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 8


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_missing_data_without_network_says_what_where_and_how(tiny, name):
    form = data.FORMATS[name]
    path = tiny[0] / form.folder / form.files[1]
    path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        Pixels(name).batch(0, 0, 2)
    for part in (f"{path} is missing", "fetching it failed", form.url, "URGATES_DATA"):
        assert part in str(error.value)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted({*form.files} - {path.name})


@pytest.fixture
def served(tiny, tmp_path, monkeypatch):
    """The tiny files moved to a web server of this machine; their folders here are gone."""
    monkeypatch.setenv("URGATES_DATA", str(tmp_path / "fresh"))
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Print nothing."""

    handler = partial(Quiet, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for name, place in (("mnist", "mnist/"), ("cifar10", "cifar.tar.gz")):
            form = data.FORMATS[name]
            sources = [tmp_path / "mnist" / file for file in form.files]
            if name == "cifar10":
                sources = [tmp_path / place]
            md5 = tuple(hashlib.md5(source.read_bytes()).hexdigest() for source in sources)
            monkeypatch.setitem(data.FORMATS, name, replace(form, url=address + place, md5=md5))
        yield tmp_path / "fresh"
        server.shutdown()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_missing_files_are_fetched_once(served, name, capfd, monkeypatch):
    log = pooch.get_logger().handlers[0]  # holds the stderr of its import, which capfd misses
    monkeypatch.setattr(log, "stream", StringIO())
    first = data.load(name)
    times = [path.stat().st_mtime_ns for path in data.download(name)]
    assert all(torch.equal(a, b) for a, b in zip(first, data.load(name), strict=True))
    assert times == [path.stat().st_mtime_ns for path in data.download(name)]
    form = data.FORMATS[name]
    assert sorted(p.name for p in (served / form.folder).iterdir()) == sorted(form.files)
    assert capfd.readouterr() == ("", "")  # no bar where nobody watches
    assert log.stream.getvalue() == ""


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_download_with_a_wrong_hash_is_not_kept(served, name, monkeypatch):
    form = data.FORMATS[name]
    monkeypatch.setitem(data.FORMATS, name, replace(form, md5=("0" * 32,) * len(form.md5)))
    with pytest.raises(data.MissingData, match="hash"):
        data.load(name)
    assert list((served / form.folder).iterdir()) == []


def test_an_archive_replaces_no_file_that_is_there(served, monkeypatch):
    data.download("cifar10")
    folder = served / "cifar-10-batches-bin"
    (folder / "data_batch_1.bin").write_bytes(b"my own")
    (folder / "test_batch.bin").unlink()
    data.download("cifar10")
    assert (folder / "data_batch_1.bin").read_bytes() == b"my own"
    assert sorted(p.name for p in folder.iterdir()) == sorted(data.FORMATS["cifar10"].files)


def test_two_that_miss_a_file_fetch_it_once(served, monkeypatch):
    asked = []

    def slow(url, path, md5):
        asked.append(path.name)
        time.sleep(0.05)
        fetch(url, path, md5)

    monkeypatch.setattr(data, "fetch", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(data.download, ["cifar10", "cifar10"]))
    assert asked == ["cifar.tar.gz"]


def test_data_root_is_the_users_cache_by_default(monkeypatch):
    monkeypatch.delenv("URGATES_DATA", raising=False)
    assert data.data_root().is_absolute() and data.data_root().name == "urgates"
    monkeypatch.setenv("URGATES_DATA", "~/somewhere")
    assert data.data_root().is_absolute() and data.data_root().name == "somewhere"


def real(name, monkeypatch):
    form = data.FORMATS[name]
    if not all((data.data_root() / form.folder / file).is_file() for file in form.files):
        pytest.skip(f"no {name} below {data.data_root()}; set URGATES_DATA or run `urgates data`")
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", name)  # the counts hold of one's own copy, too
    return Pixels(name)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_training_files_are_as_published(name, monkeypatch):
    real(name, monkeypatch)
    form = data.FORMATS[name]
    for file in form.files[: 2 if name == "mnist" else 5]:
        content = (data.data_root() / form.folder / file).read_bytes()
        content = gzip.decompress(content) if file.endswith("gz") else content
        assert hashlib.sha256(content).hexdigest() == form.published(Path(file)), file


def test_real_mnist_has_the_known_class_counts(monkeypatch):
    task = real("mnist", monkeypatch)
    counts = [task.split(name)[1].bincount() for name in ("train", "valid", "test")]
    known = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (counts[0] + counts[1]).tolist() == known and counts[1].sum() == 6000
    assert counts[2].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    x, y = task.batch(0, 1079, 50)
    assert x.shape == (50, 784, 1) and x.min() == 0 and x.max() == 1 and y.shape == (50,)


def test_real_cifar_has_zero_mean_and_unit_variance(monkeypatch):
    task = real("cifar10", monkeypatch)
    counts = [task.split(name)[1].bincount() for name in ("train", "valid", "test")]
    assert (counts[0] + counts[1]).tolist() == [5000] * 10 and counts[2].tolist() == [1000] * 10
    x = next(task.evaluate_batches("train", 5000))[0]
    assert x.shape == (5000, 1024, 3)
    assert x.mean((0, 1)).abs().max() < 0.02 and (x.std((0, 1)) - 1).abs().max() < 0.02
