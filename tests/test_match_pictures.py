"""Pictures of games and agents: films, learning curves, what trained agents keep."""

import io

import numpy as np
import pytest
from PIL import Image

from urgates.lab.book import match_figures
from urgates.lab.book.match_costs import rates
from urgates.lab.experiments import PROTOCOLS, match
from urgates.lab.jobs import Job
from urgates.lab.store.runs import Runs
from urgates.lab.tasks.match import PRESETS, Rules
from urgates.lab.tasks.rooms import PALETTE, PLAYER
from urgates.lab.train import as_left, train


def test_an_episode_is_lit_where_the_player_sees():
    boards, table = match_figures.episode(Rules("passive", (2, 3, 12), apple_reward=1.0))
    assert boards.shape == (18, 56, 88, 3) and list(table.step) == list(range(18))
    assert table.phase.value_counts().to_dict() == {"look": 2, "distractor": 3, "choose": 13}
    assert table.reward.is_monotonic_increasing and table.reward.iloc[-1] >= 10
    for board, row in zip(boards, table.itertuples(), strict=True):
        player = board[8 * row.row + 4, 8 * row.column + 4]
        assert np.array_equal(player, PALETTE[PLAYER])
    white = (boards[0] == 204).all(-1)  # background, at full light
    assert not white[:, :24].any() and not white[48:].any(), "two cells around (2, 5) are lit"
    fig, plotted = match_figures.filmstrip(boards, table, range(7))
    assert len(fig.axes) == 12 and plotted is table
    short, _ = match_figures.episode(Rules("active", **PRESETS["paper"] | {"frames": (9, 2, 40)}))
    assert len(short) < 52, "it ends with the choice"


def test_a_film_shows_every_board_and_has_the_same_bytes_again():
    boards, _ = match_figures.episode(Rules("active", (3, 3, 3)))
    film = match_figures.gif(boards)
    assert film == match_figures.gif(boards.copy()) and len(film) < 20_000
    read = Image.open(io.BytesIO(film))
    shown = []
    for frame in range(read.n_frames):
        read.seek(frame)
        shown += [np.asarray(read.convert("RGB"))] * (read.info["duration"] // 120)
    assert np.abs(np.stack(shown).astype(int) - boards).max() <= 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of Passive Match at smoke's size, and where they are."""
    p, folder = PROTOCOLS["passive", "smoke"], tmp_path_factory.mktemp("runs")
    for gate, seeds in (("-", (1,)), ("-", (2,)), ("UR", (1, 2))):
        train(Job(p, "lstm", gate, seeds), folder, "cpu", progress=False)
    return Runs(folder, p, "lstm", (1, 2), ("-", "UR"))


def test_curves_have_a_panel_a_task_and_the_levels_of_chance(trained):
    curves = match.curves(trained)
    levels = {"a": {"choice": 10 / 3}, "b": {}}
    fig, plotted = match_figures.learning({"a": curves, "b": curves.head(0)}, levels)
    left, right = fig.axes
    assert [line.get_ydata()[0] for line in left.lines][-1] == 10 / 3 and not right.lines
    assert len(plotted) == len(curves) and set(plotted.task) == {"a"}
    nothing = {"a": curves.head(0)}
    assert match_figures.learning(nothing, {})[1].empty


def test_traces_are_those_of_the_trained_agents(trained):
    table = match_figures.traces([trained], trained.folder)
    rules = trained.protocol.make_task()
    assert len(table) == 2 * 2 * rules.steps and set(table.step) == set(range(1, 13))
    assert (table.best.between(0, 1) & table["all"].between(0, 1)).all()
    agents = as_left(Job(trained.protocol, "lstm", "UR", (1, 2)), trained.folder)
    g = next(agents.gates(agents.play(20).seen))["g"]
    own = table[(table.gate == "UR") & (table.seed == 1)]
    assert own["all"].tolist() == pytest.approx(g.mean((0, 2)).tolist(), rel=1e-5)
    kept = g[:, 2:7].log().sum(1).mean(0)
    best = kept.argsort(descending=True)[:2]
    assert own.best.tolist() == pytest.approx(g[..., best].mean((0, 2)).tolist(), rel=1e-5)
    fig, plotted = match_figures.forgetting(table, rules)
    share = fig.axes[1].lines[0].get_ydata()
    assert plotted is table and len(share) == 10 and (np.diff(share) < 0).all()
    assert match_figures.traces([], trained.folder).empty


def test_agents_come_only_from_a_finished_stack_of_the_protocol(trained, tmp_path):
    job = Job(trained.protocol, "lstm", "UR", (1, 2))
    with pytest.raises(ValueError, match="must be of a finished stack of this protocol"):
        as_left(job, tmp_path)
    train(Job(trained.protocol, "lstm", "UR", (1, 2), until=5), tmp_path, "cpu", progress=False)
    with pytest.raises(ValueError, match="must be of a finished stack of this protocol"):
        as_left(job, tmp_path)


def test_worth_is_discounted_twice_where_nothing_is_foreseen():
    _, table = match_figures.reach((0.9, 0.5), 3)
    half = table[table.discount == 0.5]
    assert half.worth.tolist() == [10, 5, 2.5, 1.25] and half.itself.tolist()[:3] == [
        10,
        2.5,
        0.625,
    ]


def test_rates_are_of_frames_and_say_where_they_were_measured():
    table = rates((1, 2), ("active", "active-5-dnc"), ("-",), "smoke", rounds=1)
    assert table.frames.tolist() == [120, 240, 192, 192] and (table.ms > 0).all()
    assert table.frames_per_second.to_numpy() == pytest.approx(1e3 * table.frames / table.ms)
    assert {"device", "commit"} <= set(table.columns)
