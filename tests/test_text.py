"""Texts in the official formats, numbered, cached, and cut into segments."""

import hashlib
import threading
import tracemalloc
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

import urgates
from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.learners.resets import through
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Text, corpus, data
from urgates.lab.tasks.text import NO_TARGET, Segment
from urgates.lab.train import train

ARTICLES = (
    " \n = Ducks = \n \n Ducks <unk> . \n \n = = Food = = \n \n x \n = 3 = \n and bread . \n"
    " \n = Ponds of <unk> = \n \n deep \n \n = = = Old ones = = = \n \n b c \n"
)
FILES = {"ptb": data.FORMATS["ptb"].files, "wikitext103": data.FORMATS["wikitext103"].files}


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Writes three files of a text below $URGATES_DATA, which take any content; their folder."""
    monkeypatch.setenv("URGATES_DATA", str(tmp_path))
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", "ptb,wikitext103")
    for name in FILES:  # no test asks the net
        form = replace(data.FORMATS[name], url="http://127.0.0.1:9/it.zip")
        monkeypatch.setitem(data.FORMATS, name, form)

    def write(name, train, valid="a b\n", test="c\n"):
        folder = tmp_path / data.FORMATS[name].folder
        folder.mkdir(exist_ok=True)
        for file, text in zip(FILES[name], (train, valid, test), strict=True):
            (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write


def wiki(random, articles):
    """A text of so many articles, each of 1 to 30 words after its heading."""
    words = [f"w{i}" for i in range(50)]
    bodies = (" ".join(random.choice(words, random.integers(1, 31))) for _ in range(articles))
    return "".join(f" \n = T {i} = \n \n {body} \n" for i, body in enumerate(bodies)) + " <unk> \n"


# ------------------------------------------------------------------ numbers


def test_words_are_numbered_by_frequency_then_as_they_come(texts):
    texts("ptb", " b b a <unk> \n c a b \n", "a zebra b", "\n\n")
    text = corpus.load("ptb")
    assert text.words == ("b", "a", "<eos>", "<unk>", "c") and text.number["c"] == 4
    assert text.streams["train"].tolist() == [0, 0, 1, 3, 2, 4, 1, 0, 2]
    assert text.streams["valid"].tolist() == [1, 3, 0, 2]  # zebra is unknown; the line's end counts
    assert text.streams["test"].tolist() == [2, 2]
    assert not text.published and [len(starts) for starts in text.starts.values()] == [0, 0, 0]


@pytest.mark.parametrize("piece", [1, 7, 50, 1 << 20])
def test_numbers_spell_the_text_however_it_is_cut(texts, monkeypatch, piece):
    monkeypatch.setattr(corpus, "_PIECE", piece)
    random = np.random.default_rng(0)
    words = ["a", "an", "ω", "東京", "<unk>", "=", "e\N{COMBINING ACUTE ACCENT}"]
    lines = [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(60)]
    texts("ptb", " \n ".join(lines), "an ω", "=\n\N{NO-BREAK SPACE}a\r\n")
    text = corpus.load("ptb")
    tokens = [token for line in lines for token in [*line.split(), "<eos>"]]
    ranked = Counter(tokens).most_common()  # equals as they came, since Python 3.7
    assert text.words == tuple(word for word, _ in ranked)
    assert [text.words[number] for number in text.streams["train"]] == tokens
    assert [text.words[number] for number in text.streams["test"]] == ["=", "<eos>", "a", "<eos>"]


def test_articles_begin_at_the_blank_line_before_their_heading(texts):
    texts("wikitext103", ARTICLES, ARTICLES[12:], "c\n")
    text = corpus.load("wikitext103")
    for split, count in (("train", 2), ("valid", 1), ("test", 0)):
        stream = [text.words[number] for number in text.streams[split]]
        begins = text.starts[split].tolist()
        assert len(begins) == count
        for begin in begins:
            assert stream[begin : begin + 2] == ["<eos>", "="] and stream[begin + 2] in "DucksPonds"
    assert text.starts["train"][0] == 0 and text.articles


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("= a =", True),
        ("= a = b =", True),
        ("= a b", False),
        ("= =", False),
        ("= = a = =", False),
        ("= = a =", False),
        ("= a = =", False),
        ("= = =", False),
        ("a = b =", False),
    ],
)
@pytest.mark.parametrize("before", [" \n", "a \n \n", "a \n"])
@pytest.mark.parametrize("after", [" \n b \n", "b \n", ""])
def test_what_is_a_heading(line, heading, before, after):
    tokens = f"{before} {line} \n{after}".replace("\n", " <eos> ").split()
    number = {"=": 0, "<eos>": 1, "a": 2, "b": 3}
    found = corpus.article_starts(np.array([number[token] for token in tokens]), number)
    heading = heading and before != "a \n" and after == " \n b \n"
    assert found == [before.count("\n") - 1 + before.count("a")] * heading


# ------------------------------------------------------------------ the cache


def cached(folder):
    return sorted(path.name for path in folder.glob(".numbers-*"))


def test_a_text_is_numbered_once_and_anew_when_it_changes(texts, monkeypatch):
    folder, write = texts("ptb", "a <unk>\n"), corpus._write
    first = corpus.load("ptb")
    made = cached(folder)
    assert len(made) == 1

    def never(*_):
        raise AssertionError("numbered again")

    monkeypatch.setattr(corpus, "_write", never)
    assert corpus.load("ptb").words == first.words and cached(folder) == made
    monkeypatch.setattr(corpus, "_write", write)
    texts("ptb", "a <unk>\n", "a a\n")
    assert corpus.load("ptb").streams["valid"].tolist() == [0, 0, 2]
    assert len(cached(folder)) == 1 and cached(folder) != made
    assert first.streams["valid"].tolist() == [0, 1, 2]  # still mapped


@pytest.mark.parametrize("file", ["train", "words.txt", "starts.json", "sums.json"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"x" + raw[1:], None])
def test_a_damaged_cache_is_made_anew(texts, file, damage):
    folder = texts("ptb", "a <unk> b\n")
    good = corpus.load("ptb").streams["train"].tolist()
    (path,) = folder.glob(f".numbers-*/{file}")
    whole = path.read_bytes()
    path.write_bytes(damage(whole)) if damage else path.unlink()
    assert corpus.load("ptb").streams["train"].tolist() == good and path.read_bytes() == whole


def test_what_a_killed_process_leaves_does_no_harm(texts, monkeypatch):
    folder, write = texts("ptb", "a <unk> b\n"), corpus._write

    def killed(path, out, number):
        write(path, out, number)
        if out.name == "valid":
            raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        corpus.load("ptb")
    assert cached(folder) == []
    monkeypatch.setattr(corpus, "_write", write)
    corpus.load("ptb")
    (whole,) = cached(folder)
    (folder / whole).rename(folder / f"{whole}.part")  # killed with -9
    (folder / f"{whole}.part" / "sums.json").unlink()
    assert corpus.load("ptb").streams["train"].tolist() == [0, 1, 2, 3]
    assert cached(folder) == [whole]


def count_numberings(begin, said):
    """In a process of its own: load a text; how often that numbered it, and what came of it."""
    made, number = [], corpus._number
    corpus._number = lambda *args: made.append(1) or number(*args)
    begin.wait(10)
    text = corpus.load("wikitext103")
    said.put((len(made), len(text.starts["train"]), int(text.streams["train"].sum())))


def test_two_processes_number_a_text_once(texts):
    folder = texts("wikitext103", wiki(np.random.default_rng(0), 5000))
    fork = get_context("fork")  # a fresh interpreter takes seconds to import torch
    begin, said = fork.Barrier(2), fork.Queue()
    both = [fork.Process(target=count_numberings, args=(begin, said)) for _ in range(2)]
    for process in both:
        process.start()
    heard = sorted(said.get(timeout=30) for _ in both)
    for process in both:
        process.join(10)
    total = int(corpus.load("wikitext103").streams["train"].sum())
    assert heard == [(0, 5000, total), (1, 5000, total)] and len(cached(folder)) == 1


def test_threads_wait_for_each_other(texts, monkeypatch):
    texts("ptb", "a <unk> b\n")
    made, number, together = [], corpus._number, threading.Barrier(3)
    whole = corpus._whole

    def first_look(cache):
        found = whole(cache)
        if len(looks) < 3:
            looks.append(1)
            together.wait(10)
        return found

    looks = []
    monkeypatch.setattr(corpus, "_whole", first_look)
    monkeypatch.setattr(corpus, "_number", lambda *a: made.append(1) or number(*a))
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(corpus.load, ["ptb"] * 3))
    assert len(made) == 1 and all(text.words == loaded[0].words for text in loaded)


def test_numbering_takes_memory_for_a_piece_not_for_the_text(texts, monkeypatch):
    monkeypatch.setattr(corpus, "_PIECE", 1 << 16)
    body = " ".join(f"word{i % 97}" for i in range(4000)) + " <unk>\n"
    folder = texts("ptb", body * 120)
    tracemalloc.start()
    text = corpus.load("ptb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = (folder / FILES["ptb"][0]).stat().st_size
    assert len(text.streams["train"]) == 120 * 4002 and size > 3 << 20
    assert peak < size  # the tokens alone, as a list of strings, would be ten times that


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("split", [0, 1, 2])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it must hold text, got an empty file"),
        (b"<unk> a\nb \xff c\n", "it must be UTF-8 text, got 0xff at byte 10;"),
        (b"<unk> a\nb\n \xe6\x9d", "it must be UTF-8 text, got 0xe6 at byte 11;"),
    ],
)
def test_a_bad_file_is_refused_by_name(texts, monkeypatch, split, content, message):
    monkeypatch.setattr(corpus, "_PIECE", 4)
    files = [b"a <unk>\n"] * 3
    files[split] = content
    folder = texts("ptb", *files)
    with pytest.raises(ValueError, match=message) as error:
        Text("ptb").stream("train")
    assert str(folder / FILES["ptb"][split]) in str(error.value)
    assert cached(folder) == []


def test_a_training_text_without_unk_is_refused(texts):
    texts("ptb", "a b c\n", "<unk>\n")
    with pytest.raises(ValueError, match=r"ptb\.train\.txt: it must hold <unk>"):
        corpus.load("ptb")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Text("wikitext2"),
            "dataset must be one of ptb, wikitext103, descriptions, got 'wikitext2'",
        ),
        (lambda: corpus.load("mnist"), r"dataset must be one of ptb.*got 'mnist'"),
        (lambda: data.load("ptb"), r"dataset must be one of mnist.*got 'ptb'"),
        (lambda: Text("ptb", length=0), r"length must be .*got 0"),
        (lambda: Text("ptb", length=1.5), r"length must be .*got 1.5"),
        (lambda: Text("ptb").stream("dev"), "split must be one of train, valid, test, got 'dev'"),
        (lambda: next(Text("ptb").evaluate_batches("dev", 1)), "split must be one of"),
        (lambda: Text("ptb", 3).batch(0, 0, 0), r"batch_size must be .*got 0"),
        (lambda: Text("ptb", 3).batch(0, -1, 1), r"step must be .*got -1"),
        (lambda: Text("ptb", 3).batch(-1, 0, 1), r"seed must be .*got -1"),
        (lambda: Text("ptb", 3).batch(0, 0, 4), "batch_size must be at most 3, .* got 4"),
        (lambda: Text("ptb", 12).steps_per_epoch(1), "batch_size must be at most 0, .* got 1"),
        (
            lambda: next(Text("ptb").evaluate_batches("test", 3)),
            "batch_size must be at most 2, the tokens of test, got 3",
        ),
        (lambda: next(Text("ptb").evaluate_batches("test", 0)), r"batch_size must be .*got 0"),
    ],
)
def test_bad_arguments_raise_one_clear_error(texts, call, message):
    texts("ptb", "a b c d\ne f <unk> g\n")
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ a text without files


def test_descriptions_need_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("URGATES_DATA", str(tmp_path / "none"))
    text, iris = corpus.load("descriptions"), load_iris().DESCR.lower()
    assert not (tmp_path / "none").exists() and text.articles and text.published
    said = {s: [text.words[number] for number in text.streams[s]] for s in corpus.SPLITS}
    counts = Counter(said["train"])
    assert 2000 < len(said["train"]) < 4000 and 200 < len(text.words) < 500
    assert text.words == tuple(w for w, _ in counts.most_common())
    assert min(counts[word] for word in text.words if word != "<unk>") == 2
    for split, tokens in said.items():
        begins = text.starts[split].tolist()
        assert len(begins) == 6 and begins[0] == 0 and tokens[-1] == "<eos>"
        assert all(tokens[begin - 1] == "<eos>" for begin in begins)
        words = {word for word in tokens[begins[3] : begins[4]] if word.isalpha()}
        assert len(words) > 5 and all(word in iris for word in words)
    lines = {s: {tuple(line.split()) for line in " ".join(said[s]).split("<eos>")} for s in said}
    assert len(lines["valid"] - lines["train"]) > 20 and len(lines["test"] - lines["train"]) > 20


@pytest.mark.parametrize("task", ["ptb", "ptb-tmax8", "ptb-tmax11"])
def test_smoke_reads_descriptions_and_learns(tmp_path, monkeypatch, task):
    monkeypatch.setenv("URGATES_DATA", str(tmp_path / "none"))
    assert protocol(task, "laptop").make_task() == Text("ptb", 64)
    p = replace(protocol(task, "smoke"), steps=30, log_every=15, eval_every=15)
    train(Job(p, "lstm", "C", (1,)), tmp_path, "cpu", progress=False)
    (info,) = Runs(tmp_path, p, "lstm", (1,), ("C",)).info.to_dict("records")
    words = p.make_task().output_size
    assert info["status"] == "finished" and info["test_perplexity"] < words / 3
    assert "data" not in info


# ------------------------------------------------------------------ segments


def positions(stream, pieces):
    """Where a stream of different numbers holds those of the pieces [..., L]."""
    where = np.full(stream.max() + 1, -1)
    where[stream] = np.arange(len(stream))
    return where[pieces]


@pytest.fixture
def counted(texts):
    """A text of 84 different tokens, "<eos>" the last of them; all articles are one."""
    texts("ptb", " ".join(["<unk>", *(f"w{i}" for i in range(82))]) + "\n")
    return Text("ptb", length=7)


def test_rows_go_round_the_training_text_without_a_gap(counted):
    stream, n, rows = counted.stream("train"), 84, 4
    steps = counted.steps_per_epoch(rows)
    assert (steps, counted.output_size, counted.name) == (3, 84, "ptb")
    segments = [counted.batch(5, step, rows) for step in range(2 * steps)]
    at = np.concatenate([positions(stream, segment.target) for segment in segments], 1)
    assert at.shape == (rows, 42) and (np.diff(at, axis=1) % n == 1).all()
    assert (np.sort(at[:, :21].ravel()) == np.arange(n)).all()  # an epoch, every token once
    assert (at[:, 21] == np.roll(at[:, 0], -1)).all()  # each row goes on where the next began
    for segment in segments:
        x, target = (positions(stream, tokens) for tokens in segment[:2])
        assert ((target - x) % n == 1).all() and not segment.resets.any()
        assert segment.x.dtype == segment.target.dtype == torch.int64


def test_a_segment_is_a_function_of_seed_step_and_size(counted):
    segment = counted.batch(3, 5, 4)
    counted.batch(9, 9, 2)
    assert all(map(torch.equal, segment, Text("ptb", 7).batch(3, 5, 4)))
    begins = {int(counted.batch(seed, 0, 4).x[0, 0]) for seed in range(20)}
    assert len(begins) > 10
    assert torch.equal(counted.batch(3, 5 + 84 * 10**12, 4).x, segment.x)  # no overflow


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_states_are_reset_where_an_article_begins(texts, rows):
    texts("wikitext103", wiki(np.random.default_rng(1), 40))
    task = Text("wikitext103", length=5)
    stream, starts = task.stream("train"), task.corpus.starts["train"]
    assert len(starts) == 40 and stream[-1] == task.corpus.number["<eos>"]
    steps, resets, target = task.steps_per_epoch(rows) + 2, [], []
    for step in range(steps):
        segment = task.batch(2, step, rows)
        resets.append(segment.resets.numpy())
        target.append(segment.target.numpy())
    n = len(stream)
    resets, target = np.concatenate(resets, 1), np.concatenate(target, 1)
    ring = np.concatenate([stream, stream])
    for row in range(rows):  # find the row on the ring, and compare it all
        places = [p for p in range(n) if np.array_equal(ring[p:][: len(target[row])], target[row])]
        assert len(places) == 1
        at = (places[0] + np.arange(len(target[row]))) % n
        assert np.array_equal(resets[row], np.isin(at, starts)) and resets[row].any()


@pytest.mark.parametrize("rows", [1, 2, 7, 41, 60])
@pytest.mark.parametrize("name", ["wikitext103", "ptb"])
def test_evaluation_scores_every_token_once(texts, name, rows):
    text = wiki(np.random.default_rng(2), 40)
    texts(name, "a <unk>\n" if name == "ptb" else text, text if name == "ptb" else "a\n", text)
    task = Text(name, length=16)
    split = "valid" if name == "ptb" else "test"
    if name == "ptb":
        task.corpus.starts["valid"] = np.zeros(0, np.int64)
    segments = list(task.evaluate_batches(split, rows))
    x, target, resets = (np.concatenate(parts, 1) for parts in zip(*segments, strict=True))
    assert max(segment.x.shape[1] for segment in segments) == min(16, x.shape[1])
    scored = target >= 0
    assert np.array_equal(target[scored], task.stream(split))  # row after row: the text itself
    assert (target[~scored] == -100).all() and not resets[~scored].any()
    before = np.concatenate([[task.corpus.number["<eos>"]], task.stream(split)[:-1]])
    assert np.array_equal(x[scored], before)
    if name == "wikitext103":
        assert resets.sum() == 40
        assert resets[scored.any(1), 0].all()  # rows begin where the states are zero anyway
        lengths = np.diff([*task.corpus.starts[split], len(task.stream(split))])
        assert scored.sum(1).max() <= len(task.stream(split)) / rows + lengths.max()
    else:
        assert scored.sum(1).max() - scored.sum(1).min() <= 1


class Network(nn.Module):
    """The smallest that tells words: surprises [B, L] at a segment, and the states after it."""

    def __init__(self, words):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(words, 5, dtype=torch.float64)
        self.rnn = urgates.LSTM(5, 6, 2, batch_first=True, kernel="eager", dtype=torch.float64)
        self.head = nn.Linear(6, words, dtype=torch.float64)

    def forward(self, segment, hx):
        y, hx = through(self.rnn, self.embedding(segment.x), hx, segment.resets)
        options = {"ignore_index": NO_TARGET, "reduction": "none"}
        return nn.functional.cross_entropy(self.head(y).mT, segment.target, **options), hx


def test_a_network_scores_a_text_as_one_that_reads_article_by_article(texts):
    text = wiki(np.random.default_rng(3), 12)
    texts("wikitext103", text, test=text)
    task = Text("wikitext103")
    starts = task.corpus.starts["test"]
    assert len(starts) == 12
    network, zero = Network(task.output_size), torch.zeros((), dtype=torch.bool)
    stream = torch.from_numpy(task.stream("test").astype(np.int64))
    total = 0
    for article in torch.tensor_split(stream, torch.from_numpy(starts[1:])):
        x = torch.cat([stream[-1:], article[:-1]])[None]
        total += network(Segment(x, article[None], zero.expand(x.shape)), None)[0].sum()
    for rows, length in ((1, 7), (3, 16), (5, 3), (20, 128)):
        hx, ours = None, 0
        for segment in Text("wikitext103", length).evaluate_batches("test", rows):
            surprise, hx = network(segment, hx)
            ours += surprise.sum()
        torch.testing.assert_close(ours, total, rtol=1e-12, atol=0)


# ------------------------------------------------------------------ fetching, and the real files


@pytest.mark.parametrize("name", ["ptb", "wikitext103"])
def test_a_missing_text_is_fetched_and_checked(texts, tmp_path, monkeypatch, name):
    folder = texts(name, ARTICLES)
    monkeypatch.delenv("URGATES_DATA_UNCHECKED")
    monkeypatch.setenv("URGATES_DATA", str(tmp_path / "fresh"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    sources = [folder / file for file in FILES[name]]
    sha1 = tuple(hashlib.sha1(path.read_bytes()).hexdigest() for path in sources)
    place = f"{folder.name}/"
    if name == "wikitext103":
        place = "text.zip"
        with zipfile.ZipFile(tmp_path / place, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sources:
                archive.write(path, f"{folder.name}/{path.name}")
        sources = [tmp_path / place]
    md5 = tuple(hashlib.md5(path.read_bytes()).hexdigest() for path in sources)
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{place}"
        form = replace(data.FORMATS[name], url=url, md5=md5, sha1=sha1)
        monkeypatch.setitem(data.FORMATS, name, form)
        text = corpus.load(name)
        server.shutdown()
    assert text.published and len(text.starts["train"]) == 2
    fresh = tmp_path / "fresh" / folder.name
    assert {path.name for path in fresh.iterdir()} == {*FILES[name], *cached(fresh)}
    path = fresh / FILES[name][0]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=f"its content has SHA-1.*URGATES_DATA_UNCHECKED={name}"):
        corpus.load(name)
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", name)
    assert not corpus.load(name).published


REAL = {
    "ptb": (929_589, 73_760, 82_430),
    "wikitext103": (None, 217_646, 245_569),  # of the training text, whatever is there
}


@pytest.mark.parametrize("name", ["ptb", "wikitext103"])
def test_the_real_texts_have_the_published_counts(name, monkeypatch):
    form = data.FORMATS[name]
    if not all((data.data_root() / form.folder / file).is_file() for file in form.files):
        pytest.skip(f"no {name} below {data.data_root()}; run `urgates data {name}`")
    monkeypatch.setenv("URGATES_DATA_UNCHECKED", name)
    text = corpus.load(name)
    for split, count in zip(corpus.SPLITS, REAL[name], strict=True):
        assert count in (None, len(text.streams[split]))
    if name == "ptb":
        assert text.published and len(text.words) == 10_000 and not text.articles
        return
    assert [len(text.starts[split]) for split in ("valid", "test")] == [60, 60]
    for file, sha1 in zip(form.files[1:], form.sha1[1:], strict=True):
        content = (data.data_root() / form.folder / file).read_bytes()
        assert hashlib.sha1(content).hexdigest() == sha1
    if text.published:
        assert len(text.words) == 267_735
    task = Text(name)
    segments = task.evaluate_batches("test", 8)
    assert sum(int((segment.target >= 0).sum()) for segment in segments) == 245_569
