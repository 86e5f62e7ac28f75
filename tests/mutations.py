"""Known bugs, put into a copy of the checkout one at a time: do the tests notice?

python tests/mutations.py [NAME ...]   all of them (minutes; not part of the test command), or some

A mutation replaces a text that occurs once in a file; the tests named beside it must fail then,
and pass without it.  Whoever changes such a line moves the mutation along, or drops it together
with what it spoilt; whoever mends a bug that no test saw adds one here.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 2
CAUGHT, MISSED, BROKEN = "caught", "MISSED", "BROKEN"


class Mutation(NamedTuple):
    """`old` becomes `new` in `file` of urgates; the tests are a file of tests and pytest's -k."""

    file: str
    old: str
    new: str
    tests: str
    only: str


_START = '(p if "gate_bias" in name else p[self.rows[self.gate.main]]).copy_(start)'
_PLAIN = """
                if self.gate.auxiliary == "master" and "bias_ih" in name:
                    p[self.rows["f"]] = 1.0"""
_VALID = 'self.learner.evaluate("valid")[self.select.name].tolist()'

MUTATIONS = {
    # gates
    "refine moves half as far": Mutation(
        "gates.py", "f * f + 2 * r * band(f)", "f * f + r * band(f)", "gates", "refine"
    ),
    "masters forget their overlap": Mutation(
        "gates.py", "scale * a * omega + (m - omega)", "scale * a * omega + m", "gates", "master"
    ),
    "partner of cumax falls the wrong way": Mutation(
        "gates.py", "pair = pair[::-1]", "pair = pair", "gates", "ordered"
    ),
    "chrono draws beyond its longest memory": Mutation(
        "starts.py", "1 + draw * (t_max - 2)", "1 + draw * (t_max - 1)", "gates", "chrono"
    ),
    # how layers start
    "uniform start within C/H": Mutation(
        "gated.py",
        "self.gate.initial_bias(\n                    self.hidden_size,",
        "self.gate.initial_bias(\n                    self.hidden_size // self.options.downsize,",
        *("starts", "master_gates"),
    ),
    "a forget bias beside ordered masters": Mutation(
        "gated.py", _START, _START + _PLAIN, "starts", "only_constant"
    ),
    "weights within 1/H": Mutation(
        "gated.py",
        "1 / math.sqrt(self.hidden_size)",
        "1 / self.hidden_size",
        "starts",
        "own_weights",
    ),
    "a GRU's forget bias is 1": Mutation(
        "lab/learners/networks.py",
        " if biased else {}",
        "",
        "starts",
        "forget_bias_of_a_protocol",
    ),
    "a plain forget gate beside master gates has no bias of its own": Mutation(
        "lab/learners/networks.py",
        'auxiliary == "master" and protocol.variant_bias:',
        'auxiliary == "master" and False:',
        *("starts", "plain_forget_gate or another_start"),
    ),
    # layers and cells
    "a master gate's partner has the main gate's bias": Mutation(
        "gated.py",
        "-1: -gate_bias}",
        '-1: gate_bias if self.gate.auxiliary == "master" else -gate_bias}',
        *("rnn", "units_bias"),
    ),
    "the partner's bias is not trained": Mutation(
        "gated.py",
        "-1: -gate_bias}",
        "-1: -gate_bias.detach()}",
        *("rnn", "units_bias"),
    ),
    "a cell answers without zoneout": Mutation(
        "cells.py", "if self.training else p", "if self.training else None", "rnn", "zoneout"
    ),
    "zoneout keeps the new state": Mutation(
        "kernels/reference.py",
        "keep * old + (1 - keep) * new",
        "keep * new + (1 - keep) * old",
        *("rnn", "zoneout"),
    ),
    # kernels
    "a held cell state has no gradient": Mutation(
        "kernels/eager.py", "dc = dc_held + through", "dc = through", "kernels", "cpu_equals"
    ),
    "the reset gate is lost on the way back": Mutation(
        "kernels/eager.py",
        'each["v"][t], out=recurrent',
        'each["x_u"][t], out=recurrent',
        *("kernels", "cpu_equals"),
    ),
    "what comes from a sum counts once on the way back": Mutation(
        "tape.py",
        "gradient.get(x.name, 0) + _symbol",
        "_symbol",
        *("tape", "lines_are"),
    ),
    "the compiled kernel forgets the reset's bias": Mutation(
        "kernels/native/loop.cpp",
        "if (a.b_u.p) copy(a.b_u.row(m, 0, 0) + j, 1, input + s.I);",
        "",
        *("native", "equals_the_reference and (UR and gru)"),
    ),
    "the compiled kernel zones out the wrong way": Mutation(
        "kernels/native/loop.cpp",
        "return k * old + (1 - k) * next;",
        "return k * next + (1 - k) * old;",
        *("native", "equals_the_reference and (UR and lstm)"),
    ),
    "the compiled memory holds the wrong way": Mutation(
        "cores/attending.cpp",
        "keep * state + (1 - keep) * h",
        "keep * h + (1 - keep) * state",
        *("relational_native", "plain_loop and UR"),
    ),
    "the compiled memory's norm forgets its mean on the way back": Mutation(
        "cores/attending.cpp",
        "(g - mean - load(hat + j, n - j) * share)",
        "(g - load(hat + j, n - j) * share)",
        *("relational_native", "plain_loop and UR"),
    ),
    # tasks and training
    "Copy is read one step early": Mutation(
        "lab/tasks/base.py",
        "h[:, -self.readout :]",
        "h[:, -self.readout - 1 : -1]",
        *("tasks", "head_reads"),
    ),
    "every epoch in the same order": Mutation(
        "lab/tasks/images.py",
        "shuffled(len(y), seed, epoch)",
        "shuffled(len(y), seed)",
        *("tasks", "epoch"),
    ),
    "each tensor is clipped alone": Mutation(
        "lab/learners/supervised.py",
        "g.mul_(along(scale, g))",
        "g.mul_(along((self.protocol.clip / g.flatten(1).norm(dim=1)).clamp(max=1.0), g))",
        *("training", "stack_equals and UR"),
    ),
    "a diverged model drifts on": Mutation(
        "lab/learners/stacked.py",
        '["exp_avg"][m - span.start] = 0',
        '["exp_avg"][m - span.start] *= 1',
        *("training", "diverged_model"),
    ),
    # store
    "the best weights are those of the best test": Mutation(
        "lab/store/record.py",
        _VALID,
        'self.learner.evaluate("test")[self.select.name].tolist()',
        "training",
        "best_weights",
    ),
    "validation is one image low": Mutation(
        "lab/store/record.py",
        _VALID,
        '(self.learner.evaluate("valid")[self.select.name] - 1 / 150).tolist()',
        *("training", "best_weights"),
    ),
    "accuracy is one image low": Mutation(
        "lab/learners/supervised.py",
        "{name: total / count",
        "{name: (total - 1) / count",
        *("training", "best_weights"),
    ),
    "the last weights are kept, not the best": Mutation(
        "lab/store/record.py",
        'self.select.beats(value, self.state["best_valid"][m])',
        "value >= 0",
        *("training", "best_weights"),
    ),
    "a row is the mean since the start": Mutation(
        "lab/store/record.py", "self.sums.zero_()", "pass", "training", "row_is_the_mean"
    ),
    # what is claimed
    "two seeds decide": Mutation(
        "lab/book/claims.py", "< SEEDS_NEEDED:", "< SEEDS_NEEDED - 1:", "results", "verdicts"
    ),
    "a collapse is forgiven": Mutation(
        "lab/experiments/images.py",
        "(rows.accuracy < FORGOT)",
        "(rows.accuracy < 0)",
        "scores",
        "diverged",
    ),
    "a rate at which one seed diverged is stable": Mutation(
        "lab/experiments/images.py",
        "by_rate[by_rate.diverged == 0]",
        "by_rate[by_rate.diverged <= 1]",
        *("scores", "stable"),
    ),
    "solved is ten per cent": Mutation(
        "lab/store/runs.py", "median() < 0.05 *", "median() < 0.10 *", "results", "thresholds"
    ),
    # texts
    "a damaged cache is read": Mutation(
        "lab/tasks/corpus.py", "return sums == {", "return bool(sums) or {", "text", "damaged"
    ),
    "lines of formulas begin articles": Mutation(
        "lab/tasks/corpus.py", "and line[end + 1] == eos)", ")", "text", "heading"
    ),
    "states are reset a word too late": Mutation(
        "lab/tasks/text.py", "% len(starts)] == at", "% len(starts)] == at - 1", "text", "reset"
    ),
    "rows are cut in the middle of an article": Mutation(
        "lab/tasks/text.py", "cuts[1:-1] = starts", "_ = starts", "text", "network"
    ),
    "a reset at a segment's first step is lost": Mutation(
        "lab/learners/resets.py", "if begin in at and", "if begin and", "resets", "loop"
    ),
    "n-grams at the beginning of a line count what was before": Mutation(
        "lab/tasks/ngrams.py", "begins = reach[at[first]] == k - 1", "pass", "ngrams", "book"
    ),
}


def unfit(mutation: Mutation, root: Path = ROOT) -> str:
    """Why a mutation does not apply to a checkout; empty if it does."""
    count = (root / "urgates" / mutation.file).read_text(encoding="utf-8").count(mutation.old)
    if mutation.old == mutation.new or count != 1:
        return f"{mutation.old!r} occurs {count} times in urgates/{mutation.file}, expected once"
    return ""


def failing(mutation: Mutation, root: Path) -> tuple[bool | None, str]:
    """Whether the mutation's tests fail at `root` (None: they did not run), and pytest's last line.

    They run in one thread, and what they compile lies beside `root`.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", "addopts=", "-k", mutation.only]
    command += ["-p", "no:cacheprovider", f"tests/test_{mutation.tests}.py"]
    environment = os.environ | {"XDG_CACHE_HOME": str(root.parent), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(root)  # before an installed urgates
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip().splitlines()[-1:]
    return {0: False, 1: True}.get(done.returncode), "".join(said)


def outcome(mutation: Mutation, clean: Path) -> tuple[str, str]:
    """CAUGHT, MISSED or BROKEN, and why; `clean` is a copy of the checkout."""
    if reason := unfit(mutation):
        return BROKEN, reason
    with TemporaryDirectory(dir=clean.parent) as folder:
        root = Path(shutil.copytree(clean, folder, dirs_exist_ok=True))
        file = root / "urgates" / mutation.file
        text = file.read_text(encoding="utf-8").replace(mutation.old, mutation.new)
        file.write_text(text, encoding="utf-8")
        fails, said = failing(mutation, root)
    return {True: (CAUGHT, ""), False: (MISSED, said), None: (BROKEN, said)}[fails]


def main(names: list[str]) -> int:
    """Try the mutations of these names, all without; 1 unless every one is caught."""
    if unknown := set(names) - set(MUTATIONS):
        print(f"names must be among {', '.join(MUTATIONS)}, got {', '.join(unknown)}")
        return 2
    chosen = {name: MUTATIONS[name] for name in names or MUTATIONS}
    with TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        skip = shutil.ignore_patterns(".*", "figures", "runs", "__pycache__", "*.ipynb")
        clean = Path(shutil.copytree(ROOT, Path(folder, "clean"), ignore=skip))
        tests = {(m.tests, m.only): m for m in chosen.values()}
        found = pool.map(lambda mutation: failing(mutation, clean), tests.values())
        if red := [
            f"{names}: {said}"
            for names, (fails, said) in zip(tests, found, strict=True)
            if fails is not False
        ]:
            print("without a mutation", *red, sep="\n")
            return 1
        words = []
        found = pool.map(lambda mutation: outcome(mutation, clean), chosen.values())
        for name, (word, reason) in zip(chosen, found, strict=True):
            print(f"{word}  {name}{': ' * bool(reason)}{reason}", flush=True)
            words.append(word)
    print(", ".join(f"{words.count(word)} {word}" for word in (CAUGHT, MISSED, BROKEN)))
    return int(set(words) != {CAUGHT})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
