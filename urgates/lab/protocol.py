"""A protocol: everything that decides the numbers of a run, each number with its source."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from urgates.checks import choice, number, positive_int, require
from urgates.gates import GATES
from urgates.lab import tasks
from urgates.starts import WEIGHT_INITS

_LATER_FIELDS = {  # in a digest only where they differ from these
    **{"zoneout": {}, "weight_init": "torch", "variant_bias": None, "refine_bias": 0.0},
    **{"learner": "supervised", "learner_options": {}},
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that decides the numbers of a run, except its cell, gate and seed.

    `seeds` is how many seeds are run (1, 2, …); `log_every` and `eval_every` count training steps
    (`eval_every=0`: the task has no validation set); `t_max=None` stands for the hidden size;
    `weight_init` is one of `WEIGHT_INITS`; `forget_bias` is an LSTM's, `variant_bias` that of the
    forget gate beside an auxiliary gate (None: the same, or 0 beside master gates, as in a layer),
    `refine_bias` that of a refine gate; `tied_start` lets a separate input gate start at minus the
    forget bias; `zoneout` has the probabilities by cell; `sweep` lists the learning rates of a
    sweep (a run uses `lr` otherwise); `keep_models` stores the trained weights beside the runs;
    `learner` is one of `LEARNERS`, and `learner_options` are what that kind alone needs. `source`
    maps a field to where its value comes from.
    Raises ValueError for values that cannot be run.
    """

    task: str
    preset: str
    task_options: Mapping[str, object] = field(default_factory=dict)
    gates: tuple[str, ...] = tuple(GATES)
    hidden: int
    batch: int
    steps: int
    lr: float
    clip: float = 1.0
    downsize: int = 16
    t_max: int | None = None
    weight_init: str = "torch"
    forget_bias: float = 1.0
    variant_bias: float | None = None
    refine_bias: float = 0.0
    tied_start: bool = False
    zoneout: Mapping[str, object] = field(default_factory=dict)
    seeds: int = 3
    log_every: int = 100
    eval_every: int = 0
    sweep: tuple[float, ...] = ()
    keep_models: bool = False
    learner: str = "supervised"
    learner_options: Mapping[str, object] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        for name in ("hidden", "batch", "steps", "downsize", "seeds", "log_every"):
            positive_int(name, getattr(self, name))
        for name in ("lr", "clip"):
            require(name, number(name, getattr(self, name)) > 0, "be positive", getattr(self, name))
        choice("weight_init", self.weight_init, WEIGHT_INITS)
        for name, whole in (("downsize", "hidden"), ("log_every", "steps")):
            part, total = getattr(self, name), getattr(self, whole)
            require(name, total % part == 0, f"divide {whole} {total}", part)
        fine, said = (
            self.eval_every % self.log_every == 0,
            f"multiple of log_every {self.log_every}",
        )
        require("eval_every", fine, f"be a {said}", self.eval_every)

    def make_task(self):
        """Build the task (inputs, targets, loss, head) this protocol trains on."""
        return tasks.TASKS[self.task.partition("-")[0]](**self.task_options)

    @property
    def masked(self) -> bool:
        """Whether training draws masks: zoneout or dropout."""
        return bool(self.zoneout or self.task_options.get("dropout"))

    @property
    def numbers(self) -> dict:
        """The fields that decide a run's numbers, as plain JSON values."""
        plain = asdict(self)
        for name in ("source", "sweep", "seeds", "gates", "preset", "keep_models"):
            del plain[name]
        for name, default in _LATER_FIELDS.items():  # so that earlier runs keep their digest
            if plain[name] == default:
                del plain[name]
        if self.masked:
            plain["masks"] = "by seed and step"  # once by the stack's first seed
        return plain

    @property
    def digest(self) -> str:
        """Eight hex digits that change whenever a run's numbers may change."""
        return digest(self.numbers)

    def _repr_markdown_(self) -> str:
        rows = [f"**{self.task}** at `{self.preset}`\n", "| | value | source |", "|---|---|---|"]
        for name in (f.name for f in fields(self) if f.name in self.source):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                value = ", ".join(f"{key}={entry}" for key, entry in value.items())
            elif isinstance(value, tuple):
                value = ", ".join(str(entry) for entry in value)
            rows.append(f"| {name} | {value} | {self.source[name]} |")
        return "\n".join(rows)


def digest(numbers: Mapping) -> str:
    """Eight hex digits of a protocol's numbers."""
    text = json.dumps(numbers, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
