"""Downloads that are cut, go on and are given up, from a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from urgates.lab.tasks.fetch import fetch

CONTENT = np.random.default_rng(1).bytes(3 << 20)


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    """A server of CONTENT: `.ranges`, `.limit` bytes a reply, `.lies` about where it goes on;
    `.asked` is what it was asked for, `.get(md5)` fetches it.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = SimpleNamespace(ranges=True, limit=1 << 20, lies=False, asked=[], path=tmp_path / "it")

    class Flaky(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted, state.agent = self.headers.get("Range"), self.headers.get("User-Agent")
            state.asked.append(wanted)
            begin = int(wanted[6:-1]) if wanted and state.ranges else 0
            end = len(CONTENT)
            if begin >= end:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{end}")
                self.end_headers()
                return
            self.send_response(206 if begin else 200)
            if begin:
                at = begin + state.lies
                self.send_header("Content-Range", f"bytes {at}-{end - 1}/{end}")
            self.send_header("Content-Length", str(end - begin))
            self.end_headers()
            self.wfile.write(CONTENT[begin:][: state.limit])  # then the connection is closed

        def log_message(self, *args):
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/it"
        good = hashlib.md5(CONTENT).hexdigest()
        state.get = lambda md5=good: fetch(url, state.path, md5)
        state.part = tmp_path / "it.part"
        yield state
        server.shutdown()


def whole(state):
    """The file is there, and nothing beside it."""
    alone = [p.name for p in state.path.parent.iterdir()] == ["it"]
    return alone and state.path.read_bytes() == CONTENT


def test_a_download_that_is_cut_goes_on_where_it_was(flaky):
    flaky.get()
    assert flaky.asked == [None, "bytes=1048576-", "bytes=2097152-"] and whole(flaky)
    assert flaky.agent == "urgates"  # WikiText's server refuses what calls itself Python


def test_without_ranges_a_cut_download_starts_again(flaky):
    flaky.ranges = False
    with pytest.raises(OSError, match=r"cut|broken|Incomplete") as error:
        flaky.get()  # a second try brings nothing more
    assert "it.part keeps 1,048,576 bytes" in str(error.value) and not flaky.path.exists()
    flaky.limit = None
    flaky.get()
    assert flaky.asked == [None, "bytes=1048576-", "bytes=1048576-"] and whole(flaky)


def test_what_an_earlier_process_left_is_not_fetched_again(flaky):
    flaky.limit = None
    flaky.part.write_bytes(CONTENT[:1000])
    flaky.get()
    assert flaky.asked == ["bytes=1000-"] and whole(flaky)
    flaky.path.rename(flaky.part)  # killed before it took its place
    flaky.get()
    assert flaky.asked[1:] == [f"bytes={len(CONTENT)}-"] and whole(flaky)


@pytest.mark.parametrize("lies", [True, False])
def test_a_part_that_does_not_fit_is_fetched_from_the_start(flaky, lies):
    flaky.limit, flaky.lies = None, lies
    flaky.part.write_bytes(CONTENT[:9] if lies else CONTENT + b"more")
    flaky.get()
    assert len(flaky.asked) == 2 and flaky.asked[1] is None and whole(flaky)


def test_a_part_of_another_file_is_given_up(flaky):
    flaky.limit = None
    flaky.part.write_bytes(b"another")
    with pytest.raises(ValueError, match="hash"):
        flaky.get()
    assert not flaky.part.exists() and not flaky.path.exists()
    flaky.get()
    assert whole(flaky)


def test_many_cuts_end_in_an_error_that_keeps_what_came(flaky):
    flaky.limit = 1000
    with pytest.raises(OSError, match=r"it\.part keeps 5,000 bytes, the next try goes on"):
        flaky.get()
    assert flaky.part.read_bytes() == CONTENT[:5000]
