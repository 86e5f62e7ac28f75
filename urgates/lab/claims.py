"""The papers' claims as data, the verdict on each, and the scoreboard.

A claim is a sentence of a paper in our words: G those of the UR gates' paper, F of the fast gate's.
A notebook decides it by code and leaves the verdict, with its evidence, in `claims.json`; the
scoreboard only collects what it finds there.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from urgates.lab.places import checkout
from urgates.lab.storage import check_keys, read_json

VERDICTS = ("holds", "fails", "undecided", "not run")
KINDS = ("exact", "measured", "training")
GROUPS = (
    "mathematics and text",
    "the papers' own tables",
    "trained or measured here",
    "our own derivations",
)
HEADLINES = ("G06", "G05", "G17", "F12", "G49", "G29", "G39", "G50")  # what README shows
SEEDS_NEEDED = 3
_EVIDENCE = dict.fromkeys(("ours", "notebook", "preset", "device"), str) | {"seeds": list}


@dataclass(frozen=True)
class Claim:
    """One sentence: where it stands, what the paper reports, and where we decide it.

    `kind`: "exact" follows from formulas, sampling or the paper's own tables; "measured" is
    measured on the device at hand; "training" needs trained runs of several seeds.
    """

    section: str
    sentence: str
    paper: str
    kind: str
    notebook: str


_INIT, _REFINE, _MODELS = "22_uniform_gate_init", "23_refine_gate", "24_refining_recurrent_models"
_ABLATIONS, _ORDERED = "26_gate_ablations", "26c_ordered_O"
_TIMES, _CHRONO, _ONLSTM = "B2_timescales", "B3_chrono", "B4_on_lstm"
_BANDS, _PROTOCOLS = "C_gradient_bands", "D_protocols"
_MEMORY, _PIXELS, _FORGET = "31_synthetic_memory", "32_pixel_images", "E1_synthetic_forgetting"
_CIFAR, _GRU = "32a_sequential_cifar", "32b_gru"
_ZONEOUT, _CHOICES = "32c_zoneout", "32d_open_choices"
_LEARN, _FAST = "F4_saturation_and_learnability", "F5_fast_gate"

_OURS = "our derivation"  # from the setting of paper 2's §4.1, not quoted from it

# section, sentence (at most 110 characters), the paper's value, kind, notebook
_LEDGER = {
    "G01": ("§2.2", "Zero biases concentrate the gates around 1/2", "near 1/2", "exact", _INIT),
    "G02": ("§2.2", "A forget bias of 1 gives a decay period near 3.7", "3.7", "exact", _INIT),
    "G03": ("§2.2, Eq. 9", "Uniform gate initialisation makes the gates uniform on (0, 1)",
            "U(0, 1)", "exact", _INIT),
    "G04": ("§2.2", "It allows negative forget biases", "allowed", "exact", _INIT),
    "G05": ("B.2, Prop. 1", "Uniform gates have decay periods of density 1/x²",
            "x⁻²", "exact", _TIMES),
    "G06": ("B.2, Prop. 2", "A refine gate moves a decay period D to within (D/2, D²)",
            "(D/2, D²)", "exact", _TIMES),
    "G07": ("§2.3", "The band f(1 − f) is valid, symmetric and differentiable",
            "all three", "exact", _REFINE),
    "G08": ("Eq. 16, D.5", "The forms of the refine gate agree", "equal", "exact", _REFINE),
    "G09": ("§2.3, Fig. 2b", "The effective gate lies in [f², 1 − (1 − f)²], rising with f and r",
            "in the band", "exact", _REFINE),
    "G10": ("§2.3", "A forget gate of only 0.9 can act like 0.99", "0.99", "exact", _REFINE),
    "G11": ("App. C", "The refined gate's gradient follows the closed form",
            "formula", "exact", _BANDS),
    "G12": ("Fig. 2d", "At equal activation its gradient lies in a band above a plain gate's",
            "two bounds", "exact", _BANDS),
    "G13": ("§2.3, App. C", "A refined gate's gradient vanishes less quickly near saturation",
            "slower", "exact", _BANDS),
    "G14": ("Fig. 2c", "A high effective gate is reached with more modest f and r",
            "modest f, r", "exact", _REFINE),
    "G15": ("§2.4", "Refine-gate LSTMs have as many parameters as the plain LSTM",
            "equal", "exact", _MODELS),
    "G16": ("§2.6", "Master gates add the fraction 1/(2C) of parameters",
            "1/(2C)", "exact", _ABLATIONS),
    "G17": ("B.4, Prop. 3", "The effective forget gates of an ON-LSTM start with mean 5/6",
            "5/6", "exact", _ONLSTM),
    "G18": ("B.4", "The j-th of n cumax gates has the mean j/n", "j/n", "exact", _ONLSTM),
    "G19": ("B.4, Prop. 4", "Tied, rescaled master gates are a refine gate",
            "equal", "exact", _ONLSTM),
    "G20": ("B.4", "The input side is refined in the same way", "equal", "exact", _ONLSTM),
    "G21": ("B.3", "Uniform initialisation matches cumax's distribution at the start",
            "same", "exact", _CHRONO),
    "G22": ("Table 4", "Chrono's decay periods are uniform on [2, Tmax]",
            "uniform", "exact", _CHRONO),
    "G23": ("B.3, Table 4", "Parameter-free chrono has a far heavier tail than uniform gates",
            "heavier", "exact", _CHRONO),
    "G24": ("Eq. 18", "Opposite biases tie input and forget gate at the start",
            "i = 1 − f", "exact", _CHRONO),
    "G25": ("§3.3", "Chrono with Tmax 8 and 11 mimics fixed biases of about 1 and 2",
            "1, 2", "exact", _CHRONO),
    "G26": ("D.5", "The extremes of d uniform draws are expected at 1/(d + 1) and 1 − 1/(d + 1)",
            "1/(d + 1)", "exact", _INIT),
    "G27": ("D.5", "The bit-reversal permutation destroys locality",
            "destroyed", "exact", _PROTOCOLS),
    "G28": ("abstract", "UR gates bring no new hyperparameter", "none", "exact", "21_ur_lstm"),
    "G29": ("abstract", "UR gates cost little time or memory", "little", "measured", _ABLATIONS),
    "G30": ("B.4", "Cumax gates are slower than sigmoid gates", "slower", "measured", _ABLATIONS),
    "G31": ("B.4", "Cumax gates are less stable at large hidden sizes",
            "less stable", "measured", _ORDERED),
    "G32": ("Fig. 3 left", "OR, UR, O and C solve Copy", "loss → 0", "training", _MEMORY),
    "G33": ("Fig. 3 left", "U makes progress on Copy, more slowly than UR",
            "partial", "training", _MEMORY),
    "G34": ("Fig. 3 left", "The LSTM makes no progress on Copy",
            "log 8 = 2.079", "training", _MEMORY),
    "G35": ("Fig. 3 left", "OM and UM are stuck at Copy's baseline",
            "log 8 = 2.079", "training", _MEMORY),
    "G36": ("Fig. 3 left", "R alone is stuck on Copy; with a uniform start (UR) it solves it",
            "R stuck, UR solves", "training", _MEMORY),
    "G37": ("Fig. 3 left", "UR and OR solve Copy fastest", "fastest", "training", _MEMORY),
    "G38": ("Fig. 3 right", "Every gate but the LSTM's solves Adding",
            "8 of 9", "training", _MEMORY),
    "G39": ("Fig. 3 right", "R, UR and OR solve Adding fastest", "fastest", "training", _MEMORY),
    "G40": ("§3.1", "A constant answer scores log 8 on Copy and 1/6 on Adding",
            "2.079, 0.167", "exact", _MEMORY),
    "G41": ("§3.1, B.4", "OM fails on Copy because its gates start too small",
            "hypothesis", "training", _MEMORY),
    "G42": ("Fig. 4", "UR starts uniform and learns nearly binary gates on Copy",
            "extremal", "training", _MEMORY),
    "G43": ("Fig. 4", "U's gates hardly change during training on Copy",
            "little change", "training", _MEMORY),
    "G44": ("Fig. 4", "C's gates start extreme and hardly change",
            "little change", "training", _MEMORY),
    "G45": ("Fig. 4", "The LSTM's gates do not become large enough",
            "too small", "training", _MEMORY),
    "G46": ("§3.1", "Progress on Copy goes with forget gates near 1",
            "needed", "training", _MEMORY),
    "G47": ("E.1", "From saturated gates, R solves Adding while the LSTM is stuck",
            "solves, stuck", "training", _FORGET),
    "G48": ("E.1, Fig. 9", "R's smallest decay period ends at least ten times below the LSTM's",
            "> 10 ×", "training", _FORGET),
    "G49": ("§3.2, Table 2", "Every variant improves on the LSTM",
            "16 comparisons", "exact", _PIXELS),
    "G50": ("Table 2", "UR is best on permuted MNIST", "96.43 % valid.", "training", _PIXELS),
    "G51": ("Table 2", "R is best on sequential CIFAR, but unstable",
            "71.85 %, one seed diverged", "training", _CIFAR),
    "G52": ("§3.2", "The refine gate performs better than the master gate",
            "6 of 6 pairs", "training", _GRU),
    "G53": ("§3.2", "Uniform is generally better than ordered and chrono initialisation",
            "C: 3 of 3, ordered: 3 of 9", "training", _GRU),
    "G54": ("§3.2", "Ordered (cumax) gates are effective: O improves on the LSTM",
            "both LSTM rows", "training", _CIFAR),
    "G55": ("§3.2", "Chrono is worse than any other variant outside the synthetic tasks",
            "last of 8 in 3 rows", "training", _GRU),
    "G56": ("§3.2", "UR-GRU is the only GRU that is stably good",
            "≥ 71 %, none diverged", "training", _GRU),
    "G57": ("§3.2", "UR gates are consistently among the best performing and most stable",
            "rank ≤ 3, stable, 3 rows", "training", _GRU),
    "G58": ("§3.2", "Similar trends hold across the gating variants for the GRU",
            "rank correlation 0.83; 0.38 with -", "training", _GRU),
    "G59": ("D.2", "The GRU is unstable at learning rates above 5e-4",
            "unstable", "training", _CHOICES),
    "G60": ("Table 3", "Test accuracies of the UR-LSTM",
            "99.28, 96.96, 71.00 %", "training", _ZONEOUT),
    "G61": ("Table 3", "UR beats the LSTM by eight points on sequential CIFAR",
            "+7.99 points", "training", _ZONEOUT),
    "G62": ("§3.2, Table 3", "Zoneout continues to improve the UR-LSTM",
            "−0.07, +0.62, +3.34", "training", _ZONEOUT),
    "G63": ("§3.2, Table 3", "UR with zoneout beats non-recurrent models on sMNIST and sCIFAR",
            "99.27 > 99.20, 74.4 > 73.42", "exact", _ZONEOUT),
    "G64": ("D.2", "Larger hidden sizes are unstable", "unstable", "training", _CHOICES),
    # the second paper, Ohno, Kanai and Ida, arXiv 2210.01348
    "F01": ("paper 2, §4.1",
            "With a constant forget gate f a cell keeps the share f^k over k steps",
            "exponential decay", "exact", _LEARN),
    "F02": ("paper 2, §4.1", "The minimal loss is least at φ⁻¹ of the k-th root of λ*",
            "closed form", "exact", _LEARN),
    "F03": ("paper 2, Eq. 15", "Gradient descent becomes the gradient flow as the rate goes to 0",
            "limit", "exact", _LEARN),
    "F04": ("paper 2, §4.2", "Saturation is inevitable in 𝓕: the gradient vanishes for large z",
            "inevitable", "exact", _LEARN),
    "F05": ("paper 2, Def. 4.1", "The gates belong to 𝓕, the sigmoid included",
            "includes σ", "exact", _LEARN),
    "F06": ("paper 2, abstract", "The fast gate saturates doubly exponentially",
            "doubly exp.", "exact", _LEARN),
    "F07": (_OURS, "The sigmoid saturates in a higher order than softsign, the fast gate than both",
            "–", "exact", _LEARN),
    "F08": (_OURS, "At equal activation the ratios of the gates' gradients grow without bound",
            "–", "exact", _LEARN),
    "F09": (_OURS, "Towards λ* = 1 the sigmoid's 1 − f falls like 1/τ", "–", "exact", _LEARN),
    "F10": (_OURS, "Towards λ* = 1 softsign's 1 − f falls like τ to the −1/3",
            "–", "exact", _LEARN),
    "F11": (_OURS, "Towards λ* = 1 the fast gate's 1 − f falls like 1/(τ log² τ)",
            "–", "exact", _LEARN),
    "F12": ("paper 2, §4", "The faster a gate saturates, the sooner it learns a value near 1",
            "more efficient", "exact", _LEARN),
    "F13": (_OURS, "A target λ* < 1 is reached exactly, after a finite time", "–", "exact", _LEARN),
    "F14": (_OURS, "From f = 1 − 1/k, time grows as k² (softsign), stays (sigmoid), falls (fast)",
            "–", "exact", _LEARN),
    "F15": (_OURS, "From f = 1/2 a horizon of 100 steps is out of reach of every gate",
            "–", "exact", _LEARN),
    "F16": (_OURS, "The fast gate's gradient falls sooner in z, yet is larger at equal activation",
            "–", "exact", _LEARN),
    "F17": ("paper 2, §3", "The fast gate adds no parameters", "none", "exact", _FAST),
    "F18": ("paper 2, §3", "A refine gate adds parameters, where the input gate stays free",
            "additional", "exact", _FAST),
    "F19": ("paper 2, §3", "A fast gate costs less time than such a refine gate",
            "cheaper", "measured", _FAST),
    "F20": (_OURS, "The refine gate has the sigmoid's order: it learns twice as fast, not faster",
            "–", "exact", _LEARN),
    "F21": ("paper 2, abstract",
            "On long tasks the fast gate beats earlier ones: refine next, then sigmoid, softsign",
            "more accurate", "training", _FAST),
    "F22": ("paper 2, abstract",
            "On pixel images the fast gate beats earlier ones: refine next, then sigmoid, softsign",
            "more accurate", "training", _FAST),
    "F23": ("paper 2, §3", "The state stays bounded, where the input gate is tied",
            "bounded", "exact", _FAST),
    "F24": ("paper 2, §3", "The fast gate is complementary to bias schemes: UF beats U and F",
            "complementary", "training", _FAST),
    "F25": ("paper 2, §2.2", "Long time scales force forget gates into saturation",
            "must face it", "exact", _LEARN),
    "F26": (_OURS, "The fast gate's gradient cannot explode: it is at most 0.279",
            "–", "exact", _LEARN),
    "F27": (_OURS, "The fast gate is numerically safe: finite both ways for z up to ±10,000",
            "–", "exact", _FAST),
    "F28": ("paper 2, §3", "The fast gate brings no hyperparameter of its own",
            "none", "exact", _FAST),
}  # fmt: skip

CLAIMS: dict[str, Claim] = {name: Claim(*row) for name, row in _LEDGER.items()}
_FROM_TABLES = ("G49", "G63")


def group(name: str) -> str:
    """Which of GROUPS a claim belongs to: what kind of evidence its verdict rests on."""
    claim = CLAIMS[name]
    place = 3 if claim.section == _OURS else 2 if claim.kind != "exact" else name in _FROM_TABLES
    return GROUPS[place]


def verdict(holds: bool | None, preset: str, seeds: Mapping[str, Iterable[int]] | None) -> str:
    """The word for a claim.

    Args:
        holds: what the predicate says; None where it cannot tell.
        preset: of the runs.
        seeds: completed seeds by gate, for every gate the claim is about; None if the claim does
            not rest on runs. Smoke runs, and fewer than three seeds of any gate, decide nothing.
    """
    if seeds is not None:
        if not any(seeds.values()):
            return "not run"
        if preset == "smoke" or min(len(set(done)) for done in seeds.values()) < SEEDS_NEEDED:
            return "undecided"
    return "undecided" if holds is None else "holds" if holds else "fails"


def read_claims(path: Path) -> dict[str, dict]:
    """The entries of a claims.json, none without the file; ValueError names what is wrong."""
    content = read_json(path) if path.exists() else {}
    check_keys(content, dict.fromkeys(content, dict), path)
    for name, entry in content.items():
        if entry.get("verdict") not in VERDICTS:
            choices, got = ", ".join(VERDICTS), entry.get("verdict")
            raise ValueError(f"{path}: verdict of {name} must be one of {choices}, got {got!r:.40}")
    return content


def stored(figures: Path | None = None) -> dict[str, dict]:
    """What the committed notebooks found, by claim: the entries of `figures/*/claims.json`."""
    figures = figures or checkout() / "figures"
    found: dict[str, dict] = {}
    for path in sorted(figures.glob("*/claims.json")):
        for name, entry in read_claims(path).items():
            check_keys(entry, _EVIDENCE, f"{path}: {name}")
            if name in found:
                raise ValueError(f"{path} decides {name} again; so does {found[name]['notebook']}")
            found[name] = entry
    return found


def scoreboard(figures: Path | None = None) -> str:
    """The table of all claims, Markdown: sentence, paper, ours, verdict, evidence, notebook."""
    found = _decided(figures)
    counts = Counter(entry["verdict"] for entry in found.values())
    rows = []
    for name, claim in CLAIMS.items():
        entry = found[name]
        title = f"{name} · {claim.section}: {claim.sentence}"
        rows.append(
            _row(title, claim.paper, entry["ours"], _word(entry), evidence(entry), _link(entry))
        )
    summary = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
    head = "| claim | paper | ours | verdict | preset, seeds, device | notebook |"
    return "\n".join([f"{len(CLAIMS)} claims: {summary}.", "", head, "|---" * 6 + "|", *rows])


def summary(figures: Path | None = None) -> str:
    """README's part of the scoreboard, Markdown: the verdicts by GROUPS, and the HEADLINES."""
    found = _decided(figures)
    counts = Counter((group(name), entry["verdict"]) for name, entry in found.items())
    words = [word for word in VERDICTS if any(counts[kind, word] for kind in GROUPS)]
    lines = [_row(f"{len(CLAIMS)} claims", *words), "|---" * (1 + len(words)) + "|"]
    lines += [_row(kind, *(str(counts[kind, word]) for word in words)) for kind in GROUPS]
    lines += ["", "| for example | ours | verdict |", "|---|---|---|"]
    for name in HEADLINES:
        claim, entry = CLAIMS[name], found[name]
        where = "" if entry.get("preset", "exact") == "exact" else f" ({entry['preset']})"
        verdict = f"[{_word(entry)}](notebooks/{entry['notebook']}.ipynb){where}"
        lines.append(_row(f"{claim.section}: {claim.sentence}", entry["ours"], verdict))
    return "\n".join(lines)


def _decided(figures: Path | None) -> dict[str, dict]:
    """An entry for every claim, in the order of the ledger; those not decided are "not run"."""
    found = stored(figures)
    if unknown := sorted(set(found) - set(CLAIMS)):
        raise ValueError(f"claims.json files decide {unknown}, which are not among the claims")
    missing = {"verdict": "not run", "ours": "–"}
    return {
        name: _plain(found.get(name, missing | {"notebook": claim.notebook}))
        for name, claim in CLAIMS.items()
    }


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _word(entry: Mapping) -> str:
    return f"**{entry['verdict']}**"


def _link(entry: Mapping) -> str:
    return f"[{entry['notebook']}](notebooks/{entry['notebook']}.ipynb)"


def _plain(entry: Mapping) -> dict:
    """An entry whose texts, which come from a file, fit on a line of Markdown: without HTML."""
    return {
        key: " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;")
        if isinstance(value, str)
        else value
        for key, value in entry.items()
    }


def evidence(entry: Mapping) -> str:
    """Preset, seeds and device behind a verdict, in a few words."""
    if entry.get("preset", "exact") == "exact":
        return entry.get("preset", "–")
    parts = [entry["preset"]]
    if entry.get("seeds"):
        parts.append(f"seeds {', '.join(map(str, entry['seeds']))}")
    return " · ".join([*parts, entry["device"]])
