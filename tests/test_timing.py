"""Timings: what runs is what it says it is, rows are complete, wrong wishes are refused."""

import pytest
import torch
from tolerances import assert_close

from urgates.__main__ import main
from urgates.lab.book import clock, language_costs, timing
from urgates.lab.book.contenders import Case, PlainLoop
from urgates.lab.book.roof import roof
from urgates.lab.tasks.text import Segment
from urgates.rnn import LSTM

TINY = {"hidden": 8, "time": 5, "batch": 2, "inputs": 3, "downsize": 4}


@pytest.mark.parametrize("gate", ["-", "UR"])
def test_the_plain_loop_computes_what_our_layer_does(gate):
    loop, ours = PlainLoop(Case(gate=gate, **TINY)), LSTM(3, 8, gate=gate)
    ours.load_state_dict(dict(loop.weights.state_dict()), strict=False)  # torch.nn's, by name
    if gate == "UR":
        ours.gate_bias_l0.data.copy_(loop.gate_bias.data)
    x = torch.randn(5, 2, 3)
    results = {}
    for name, module in (("loop", loop), ("ours", ours)):
        y = module(x)[0]
        y.square().sum().backward()
        weights = loop.weights if name == "loop" else ours
        results[name] = [y, weights.weight_hh_l0.grad, weights.weight_ih_l0.grad]
    for a, b in zip(results["ours"], results["loop"], strict=True):
        assert_close("ours", a, b, 3e-6)  # two single roundings


def test_a_row_per_case_with_times_ratios_and_memory():
    cases = [
        Case(**TINY),
        Case("plain loop", "urgates", **TINY),
        Case("torch without oneDNN", cell="gru", gate="R", **TINY),
        Case(models=3, gate="OM", **TINY),
    ]
    lines = []
    frame = timing.measure(cases, pairs=3, threads=1, seconds=0.001, progress=lines.append)
    assert len(frame) == len(lines) == 4 and not frame.isna().any().any()
    assert (frame[["ms", "rival_ms", "us", "ratio", "forward"]] > 0).all().all()
    assert ((frame.low <= frame.ratio) & (frame.ratio <= frame.high)).all()
    assert frame.us.tolist() == pytest.approx((1e3 * frame.ms / 5 / frame.models).tolist())
    assert frame.threads.tolist() == [1] * 4 and frame.device.tolist() == ["CPU"] * 4
    assert "UR-LSTM" in lines[0] and "M=3" in lines[3]


def test_threads_are_as_they_were():
    before = torch.get_num_threads()
    timing.measure([Case(**TINY)], pairs=1, threads=before + 1, seconds=0.001)
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), clock.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_a_stopwatch_reads_one_clock_before_and_after_each_call():
    seconds, calls = iter([1.0, 1.5, 4.0]), []
    marks = clock.stopwatch(
        lambda: calls.append(1), lambda: calls.append(2), clock=seconds.__next__
    )
    assert marks == [500, 2500] and calls == [1, 2]


def test_contenders_take_turns_in_changing_order_after_warming_up():
    said = []

    def contender(name, *phases):
        return lambda: said.append(name) or phases

    some = {"a": contender("a", 3, 1), "b": contender("b", 5, 2), "c": contender("c", 7, 4)}
    taken = clock.turn_about(some, rounds=8)
    assert taken.shape == (8, 3, 2) and (taken == [[3, 1], [5, 2], [7, 4]]).all()
    rounds = ["".join(said[k : k + 3]) for k in range(3, len(said), 3)]
    assert said[:3] == ["a", "b", "c"] and len(rounds) == 8
    assert {"".join(sorted(r)) for r in rounds} == {"abc"} and len(set(rounds)) > 1
    said.clear()
    assert clock.turn_about(some, rounds=2, seconds=0.015)[0, :, 0].tolist() == [3, 5, 7]
    assert {name: said.count(name) for name in "abc"} == {"a": 2 + 10, "b": 2 + 6, "c": 2 + 4}


def test_what_is_kept_counts_every_tensor_once():
    w = torch.randn(10, 10, requires_grad=True)
    assert clock.kept(lambda: (w * w).sum()) == 400
    assert clock.kept(lambda: (w * 2).sum()) == 0


def test_memory_kept_for_backward_counts_the_sequence_once():
    rows = timing.measure(
        [Case(**(TINY | {"time": t, "hidden": 64})) for t in (50, 100)], pairs=1, seconds=0.001
    )
    per_step = (rows.kept[1] - rows.kept[0]) / 50
    numbers = 3 + 5 * 64 + 2 * 64  # x, the stash, hidden and cell states
    assert per_step == pytest.approx(4e-6 * 2 * numbers, rel=0.01)


def test_error_ratios_know_the_truth():
    rows = timing.error_ratios("-", 20, hidden=8)
    assert {r["provider"] for r in rows} == {"urgates", "torch.nn"}
    assert {"h", "c", "weight_hh_l0"} <= {r["what"] for r in rows}
    assert all(0 < r["error"] < 1e-6 for r in rows)


def test_the_speed_of_a_product_is_positive():
    frame = timing.gemm_peak(size=64, repeats=2)
    assert (frame.gflops > 0).all() and frame.threads.iloc[0] == 1


def test_a_roof_is_positive_and_bfloat16_has_its_own():
    for device in ("cpu", "cpu:0"):  # the multipliers, torch's products
        frame = roof(device, size=32, repeats=2)
        assert list(frame.what) == ["copy", "float32", "bfloat16"]
        assert (frame.most > 0).all() and frame.most.nunique() == 3 and (frame.threads == 1).all()


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"hidden": 0}, "hidden must be a positive int, got 0"),
        ({"provider": "x"}, "provider must be one of urgates, plain loop"),
        ({"rival": "x"}, "rival must be one of torch.nn, urgates, got 'x'"),
        ({"cell": "rnn"}, "cell must be one of lstm, gru"),
        ({"dtype": "float8"}, "dtype must be one of float32"),
        ({"gate": "X"}, "gate must be one of"),
    ],
)
def test_a_case_that_cannot_be_is_refused(wish, message):
    with pytest.raises(ValueError, match=message):
        Case(**wish)


def test_a_plain_loop_of_another_gate_is_refused():
    with pytest.raises(ValueError, match="the plain loop is an LSTM with gate - or UR"):
        timing.measure([Case("plain loop", gate="O", **TINY)], pairs=1)


def test_the_command_prints_and_writes(tmp_path, capsys):
    csv = tmp_path / "time.csv"
    sizes = "--hidden 8,16 --time 5 --batch 2 --pairs 1 --threads 1 --device cpu"
    assert main(["time", *sizes.split(), "--gates", "UR,-", "--csv", str(csv)]) == 0
    assert capsys.readouterr().out.count("x torch.nn") == 4
    assert len(csv.read_text().splitlines()) == 5
    assert main(["time", "--hidden", "0"]) == 2
    assert "--hidden: must be whole numbers" in capsys.readouterr().err


def test_the_peak_is_the_most_that_lives_at_once():
    given = torch.ones(100)

    def call():
        a = given + 1  # 400 bytes
        b = a * 2  # 800
        a = b.view(10, 10).t()  # no more, and the first is gone
        return a.reshape(-1).add_(given)  # a copy: 800

    assert clock.peak(call) == 800
    assert clock.peak(lambda: [given + k for k in range(5)]) == 2000
    assert clock.peak(lambda: [(given + k).sum() for k in range(5)]) == 400 + 5 * 4
    leaf = torch.ones(100, requires_grad=True)
    assert clock.peak(lambda: leaf.exp().sum().backward()) >= 2 * 400, "what backward makes counts"


def test_a_softmax_in_chunks_needs_no_more_memory_for_more_tokens(monkeypatch):
    monkeypatch.setattr("urgates.lab.learners.softmax.CHUNK_BYTES", 4 * 16 * 3000)
    frame = language_costs.softmax_peaks((32, 128), words=3000, features=2)
    peaks = frame.pivot(index="tokens", columns="softmax", values="peak")
    logits = 4e-6 * 3000 * peaks.index.to_numpy()
    assert (peaks["all logits"] > 2 * logits).all(), "autograd keeps them twice"
    assert peaks["in chunks"].max() < 1.05 * peaks["in chunks"].min()
    assert peaks["in chunks"].max() < 4e-6 * 3000 * (16 + 5 * 2), "a chunk, and what w is large"


def test_language_models_are_timed_beside_the_same_model_of_torch_s():
    torch_s, ours = (language_costs.model(name, 32, 50) for name in ("torch.nn", "-"))
    x, target = torch.randint(50, (2, 3, 7))
    segment = Segment(x, target, torch.zeros(3, 7, dtype=torch.bool))
    losses = [m(segment, m.states(3))[0] for m in (torch_s, ours)]
    assert type(torch_s.rnn) is torch.nn.LSTM and type(ours.rnn) is LSTM
    assert_close("loss", *losses, 1e-5)
    frame = language_costs.language_times(("-",), 3, hidden=32, words=50, time=7, batch=3)
    assert frame.model.tolist() == ["torch.nn", "-"] and not frame.isna().any().any()
    assert frame.ratio[0] == 1 and (frame.low <= frame.ratio).all() and (frame.ms > 0).all()
    assert frame.tokens_per_second.tolist() == pytest.approx((1e3 * 21 / frame.ms).tolist())
