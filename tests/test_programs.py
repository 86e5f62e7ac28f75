"""Learning to Execute: programs against an interpreter of their own and the released statistics."""

import contextlib
import copy
import io
import re
from collections import Counter

import numpy as np
import pytest
import torch
from tolerances import assert_close

from urgates.lab.jobs import Job
from urgates.lab.learners.networks import build
from urgates.lab.learners.supervised import Stack
from urgates.lab.protocol import Protocol
from urgates.lab.tasks import Farthest, Programs
from urgates.lab.tasks.interpreter import answer, evaluate, parse, pretty
from urgates.lab.tasks.programs import CATEGORIES
from urgates.lab.tasks.text import NO_TARGET

STATISTICS = {  # spec: characters in (least, mean, most), out (mean), best constant a position
    ("addition", 9, 4): (55, 55, 55, 10.0, 0.149),
    ("control", 9, 4): (95, 123, 151, 9.6, 0.107),
    ("program", 9, 4): (55, 82, 151, 9.75, 0.113),
    ("addition", 6, 3): (31, 31, 31, 7.0, 0.173),
    ("control", 6, 3): (61, 73, 85, 6.6, 0.110),
    ("program", 6, 3): (31, 48, 85, 6.7, 0.120),
    ("addition", 5, 2): (19, 19, 19, 5.9, 0.205),
    ("control", 5, 2): (39, 45, 51, 5.6, 0.115),
    ("program", 5, 2): (19, 29, 51, 5.7, 0.128),
    ("addition", 3, 2): (13, 13, 13, 3.9, 0.254),
    ("control", 3, 2): (33, 35, 37, 3.6, 0.120),
    ("program", 3, 2): (13, 22, 37, 3.7, 0.140),
}


def sizes(rows):
    return (rows.text != 0).sum(1), (rows.answer != 0).sum(1)


@pytest.mark.parametrize("key", STATISTICS, ids=str)
def test_lengths_and_constant_answers_are_as_measured_on_the_released_generator(key):
    least, mean, most, out, constant = STATISTICS[key]
    rows = Programs(*key, curriculum="full")._rows(20_000, False, 7, 7)
    text, written = sizes(rows)
    assert (text.min(), text.max()) == (least, most) and rows.text.shape[1] == most
    # the published figures are rounded: half a unit of their last digit
    assert abs(text.mean() - mean) <= 0.01 * mean + 0.5
    assert abs(written.mean() - out) <= 0.01 * out + 0.05 and written.max() == key[1] + 1
    right = sum(np.bincount(column[column > 0]).max() for column in rows.answer.T)
    assert abs(right / written.sum() - constant) < 0.005


def test_the_language_of_2014_has_its_lengths_and_signs():
    rows = Programs("program2014", curriculum="full")._rows(20_000, False, 7, 7)
    text, written = sizes(rows)
    assert abs(text.mean() - 89) < 0.9 and abs(written.mean() - 11.6) < 0.116
    assert text.max() <= 177 + 5  # a literal may be 10^9, though it hardly ever is
    assert abs((rows.answer[:, 0] == 11).mean() - 0.30) < 0.02


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("size", [(9, 4), (1, 1), (2, 6), (9, 1)], ids=str)
def test_every_answer_is_what_an_interpreter_of_the_text_finds(category, size):
    task = Programs(category, *size)
    for curriculum in (task, Programs(category, *size, curriculum="full")):
        for text, wanted in curriculum.show(*curriculum.batch(3, 1, 150)):
            assert answer(text) == wanted, text


def test_answers_are_exact_where_python_needs_more_than_64_bits():
    task = Programs("program", curriculum="full")
    values = [evaluate(parse(text)) for text, _ in task.show(*task.batch(0, 0, 2000))]
    assert max(map(abs, values)) > 1e40  # the answers above are those of such numbers
    product = "((999999999*999999999)*999999999)*999999999"
    assert evaluate(parse(product)) == 999999999**4
    assert answer(product) == str(999999999**4 % 10**10)


@pytest.mark.parametrize("category", CATEGORIES)
def test_pretty_programs_are_python_of_the_same_value(category):
    task = Programs(category, 4, 3)
    for text, _ in task.show(*task.batch(2, 2, 40)):
        *lines, last = pretty(text).split("\n")
        names = {}
        exec("\n".join(lines), {"range": range}, names)
        assert names.get(last, last) in (evaluate(parse(text)), str(evaluate(parse(text))))


def test_programs_of_2014_are_python():
    task = Programs("program2014", 5, 3)
    for text, wanted in task.show(*task.batch(5, 5, 40)):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(text.removesuffix("@").replace("#", "\n"), {})
        assert printed.getvalue().strip() + "." == wanted


def test_a_program_is_read_as_written():
    assert pretty("(12if34<56else78)+90") == "v1 = 12 if 34 < 56 else 78\nv2 = v1 + 90\nv2"
    assert parse("x=(3*4)for[5]x+=6") == ("+=", ("*", 3, 4), 5, 6)
    assert answer("x=(3*4)for[5]x+=6") == "42" and answer("3-9") == "94"
    assert answer("j=8584#for x in range(8):j+=920#b=(1500+j)#print((b+7567))@") == "25011."


@pytest.mark.parametrize("text", ["1+", "1+2)", "(1+2", "1?2", "+1", "x=1for[a]x+=2", "1if2else3"])
def test_what_is_no_program_is_refused(text):
    with pytest.raises(ValueError, match=r"text must .*, got "):
        parse(text)


def test_a_mix_draws_each_size_alike_and_each_program_its_own():
    rows = Programs("addition", 3, 2)._rows(6000, True, 1, 1)
    task = Programs("addition", 3, 2)
    found = Counter()
    for row in rows.text:
        literals = re.findall(r"\d+", task.writer.language.text(row))
        assert len({len(number) for number in literals}) == 1
        found[len(literals[0]), len(literals) - 1] += 1
    assert set(found) == {(L, N) for L in (1, 2, 3) for N in (1, 2)}
    assert all(abs(count - 1000) < 150 for count in found.values())  # five deviations


def test_a_batch_shows_characters_one_hot_and_flush_right_then_asks():
    task = Programs("program", 4, 2)
    x, target = task.batch(1, 2, 64)
    k = task.readout
    assert x.shape == (64, task.writer.width + k, 28) and target.shape == (64, k) == (64, 5)
    there = x.sum(-1)
    assert not there[:, -k:].any() and there[:, -k - 1].all()
    assert torch.equal(there[:, :-k].sort(1).values, there[:, :-k])  # no gap
    assert torch.equal(task.held(x), there.cumsum(1) == 0)
    assert (
        task.answers(target)
        == (target != NO_TARGET).sum()
        == sum(len(wanted) for _, wanted in task.show(x, target))
    )


def test_evaluation_has_fixed_programs_of_full_size_that_training_never_draws():
    task = Programs("addition", 3, 2, evaluated=50)
    whole = [torch.cat(part) for part in zip(*task.evaluate_batches("valid", 50), strict=True)]
    parts = [torch.cat(part) for part in zip(*task.evaluate_batches("valid", 20), strict=True)]
    assert all(map(torch.equal, whole, parts)) and len(whole[0]) == 50
    texts = [text for text, _ in task.show(*whole)]
    assert {len(text) for text in texts} == {13}
    (other,) = task.evaluate_batches("test", 50)
    assert not torch.equal(other[0], whole[0])
    full = Programs("addition", 3, 2, curriculum="full")
    seen = {text for step in range(20) for text, _ in full.show(*full.batch(0, step, 50))}
    assert not seen & set(texts)


def test_accuracy_and_loss_count_characters():
    task = Programs("addition", 2, 1)
    target = torch.tensor([[1, 2, 3], [4, NO_TARGET, NO_TARGET]])
    out = torch.zeros(2, 3, 10)
    out[0, 0, 1] = out[0, 1, 2] = out[1, 0, 4] = 5.0
    assert task.metrics(out, target)["accuracy"] == 3 / 4
    right = torch.tensor(5.0).exp() / (torch.tensor(5.0).exp() + 9)
    expected = -(3 * right.log() + torch.tensor(0.1).log()) / 4
    torch.testing.assert_close(task.loss(out, target), expected)
    stacked = torch.stack([out, out.flip(0)])
    for score in (task.loss, lambda o, t: task.metrics(o, t)["accuracy"]):
        both = torch.func.vmap(score, (0, None))(stacked, target)
        torch.testing.assert_close(both, torch.stack([score(o, target) for o in stacked]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": "copy"}, "category must be one of addition, control, program, program2014"),
        ({"length": 0}, "length must be a whole number of at least 1, got 0"),
        ({"nesting": 0}, "nesting must be a whole number of at least 1, got 0"),
        ({"length": 10}, "length and nesting must have values that 64 bits can hold, got 10"),
        ({"category": "program2014", "nesting": 8}, "64 bits can hold, got 9 and 8"),
        ({"curriculum": "combine"}, "curriculum must be one of mix, full"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Programs(**options)


# ------------------------------------------------------------------ trained by the supervised stack

P = Protocol(
    task="program", preset="smoke", task_options={"length": 2, "nesting": 2, "evaluated": 60},
    hidden=6, batch=8, steps=4, lr=1e-3, log_every=1, eval_every=2, downsize=1,
)  # fmt: skip


def test_the_state_is_that_of_each_program_alone_when_it_answers():
    task, network = P.make_task(), build(P, "lstm", "UR", 1).double()
    x, _ = task.batch(1, 1, 12)
    x = x.double()
    together = network(x)
    k, held = task.readout, task.held(x)
    assert held.any() and not held.all(1).any()
    for row, padding, out in zip(x, held.sum(1), together, strict=True):
        _, state = network.rnn(row[None, padding:-k])
        h, _ = network.rnn(torch.zeros(1, k, x.shape[-1], dtype=x.dtype), state)
        assert_close("answer", out, network.head(h[0]))


def test_stacked_models_learn_as_each_does_alone_and_resume():
    both, alone = Stack(Job(P, "lstm", "UR", (1, 2))), Stack(Job(P, "lstm", "UR", (2,)))
    for _ in range(2):
        scores, own = both.advance(), alone.advance()
        torch.testing.assert_close(scores["accuracy"][1:], own["accuracy"])
    for name, p in alone.weights().items():
        assert_close(name, both.weights()[name][1:], p, 1e-4)
    again = Stack(Job(P, "lstm", "UR", (1, 2)))
    again.restore(*copy.deepcopy(both.state()))
    assert torch.equal(both.advance()["loss"], again.advance()["loss"])
    assert all(map(torch.equal, both.weights().values(), again.weights().values()))


def test_evaluation_counts_every_character_once():
    stack, task = Stack(Job(P, "lstm", "-", (1,))), P.make_task()
    right = asked = 0
    for x, target in task.evaluate_batches("valid", 7):
        out = stack.forward(x[None])[0].argmax(-1)
        right += int((out == target).sum())
        asked += int((target >= 0).sum())
    assert stack.select.name == "accuracy"
    assert abs(float(stack.evaluate("valid")["accuracy"]) - right / asked) < 1e-6


def test_the_probe_looks_at_steps_that_hold_nothing():
    stack = Stack(Job(P, "lstm", "U", (1,)))
    task, network = stack.task, build(P, "lstm", "U", 1)
    x, _ = task.batch(1, P.steps, P.batch)
    padded = torch.cat([torch.zeros(len(x), 30, x.shape[-1]), x], 1)
    task.__dict__["batch"] = lambda *_: (padded, None)
    f = network.rnn.gates(x, held=task.held(x))["f"][~task.held(x)].mean(0)
    torch.testing.assert_close(torch.tensor(stack.probe()[0]["f"]), f, atol=1e-5, rtol=0)


# ------------------------------------------------------------------ the n-th farthest vector


def test_the_nth_farthest_is_found_by_hand():
    task = Farthest(5, 3)
    x, target = task.batch(1, 2, 200)
    assert x.shape == (200, 5, task.input_size) and task.input_size == 18
    vectors, labels, n, m = x.split([3, 5, 5, 5], dim=2)
    assert vectors.min() >= -1 and vectors.max() < 1 and vectors.std() > 0.5
    assert torch.equal(labels.sum(1), torch.ones(200, 5))  # every label once
    for row, where, nth, centre, wanted in zip(vectors, labels, n, m, target, strict=True):
        assert (nth == nth[0]).all() and (centre == centre[0]).all()
        named = {int(one.argmax()): v for one, v in zip(where, row, strict=True)}
        middle = named[int(centre[0].argmax())]
        far = sorted(named, key=lambda name: -float((named[name] - middle).norm()))
        assert far[int(nth[0].argmax())] == wanted
    assert len(set(target.tolist())) == 5
    again = task.batch(1, 2, 200)
    assert torch.equal(x, again[0]) and not torch.equal(target, task.batch(1, 3, 200)[1])
    assert task.head(7)(torch.zeros(2, 7)).shape == (2, 5)
    with pytest.raises(ValueError, match="length must be a whole number of at least 2, got 1"):
        Farthest(1)
