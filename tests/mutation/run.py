"""Would the tests notice? Plant faults in the code, one at a time, and run the tests that should see each.

    python tests/mutation/run.py --seed 1 --sample 500

A nightly piece, not part of the test run. First the tests (unit and Milvus Lite's) run once, to learn which lines each
runs, and how long each takes. Then a sample of the faults of faults.py is drawn, from each file in proportion to its
lines of code. Each fault is written into a copy of the tree, and the tests that run its lines run there, fastest first,
until one fails: in a fork of this process, which holds the heavy libraries already and nothing of imgvec, so that
everything imports the faulty module as it would the sound one.

A fault is noticed where a test fails, the import fails, the process dies (`crashed`) or does not come to an end, in
two tries (`hung`). It survives where every test passes, where no test runs its lines (`uncovered`), and where the
tests of `--budget` seconds all pass, although there are slower ones. equivalents.yaml names survivors that no test can
notice, with the proof; they are left out of the rate. `--controls` runs the tests of so many faults without the fault:
what fails there is a false alarm of a busy machine, and makes the rate worth less.

The same seed, tree and options draw the same sample. `results.jsonl` grows while it runs, `summary.json` comes last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from baseline import TESTS, Baseline, learn
from children import Child, Tree, preload
from faults import Fault, faults_in, lines_of_code

ROOT = Path(__file__).parents[2]
SCOPE = (
    "imgvec/search", "imgvec/filters", "imgvec/ingest", "imgvec/images", "imgvec/sources", "imgvec/definition",
    "imgvec/vectors.py", "imgvec/intervals.py", "imgvec/milvus/writing.py", "imgvec/milvus/reading.py",
    "imgvec/quality",
)  # fmt: skip
EQUIVALENTS = Path(__file__).with_name("equivalents.yaml")


def files_of(scope: Sequence[str]) -> list[str]:
    found = [
        path for name in scope for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def drawn(files: Sequence[str], number: int, seed: int) -> list[Fault]:
    """`number` faults: of each file its share by lines of code, within a file every fault alike."""
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in files}
    faults = {file: faults_in(file, text) for file, text in texts.items()}
    weights = {file: lines_of_code(texts[file]) for file in files if faults[file]}
    shares = {file: number * weight / sum(weights.values()) for file, weight in weights.items()}
    counts = {file: int(share) for file, share in shares.items()}
    for file in sorted(shares, key=lambda f: (counts[f] - shares[f], f))[: number - sum(counts.values())]:
        counts[file] += 1
    sample = []
    for file in sorted(counts):
        # a seed for each file: a change in one leaves the draw in the others as it is
        sample += random.Random(f"{seed} {file}").sample(faults[file], min(counts[file], len(faults[file])))
    random.Random(seed).shuffle(sample)
    return sample


@dataclass(frozen=True)
class Plan:
    """The tests to run for a fault."""

    tests: list[str]
    left_out: int
    """Slower ones, for which the budget was too small."""
    seconds: float


def planned(fault: Fault, baseline: Baseline, budget: float) -> Plan:
    tests = baseline.tests_of(fault.file, fault.lines, at_import=fault.runs_at_import, binds=fault.binds)
    tests.sort(key=lambda test: (baseline.seconds[test], test))
    kept, total = [], 0.0
    for test in tests:
        total += baseline.seconds[test]
        if kept and total > budget:
            break
        kept.append(test)
    return Plan(kept, len(tests) - len(kept), min(total, budget))


def outcomes(
    work: Sequence[tuple[Fault, bool]], baseline: Baseline, trees: Sequence[Tree], budget: float
) -> Iterator[dict[str, Any]]:
    """What became of each fault (True: planted; False: a control, the tests alone), as they come in."""
    waiting = [(fault, planted, 1) for fault, planted in reversed(work)]
    idle = list(trees)
    running: list[tuple[Fault, bool, int, Plan, Child]] = []
    while waiting or running:
        while waiting and idle:
            fault, planted, patience = waiting.pop()
            plan = planned(fault, baseline, budget)
            if not plan.tests:
                yield _record(fault, planted, plan, "uncovered", {}, 0.0)
                continue
            tree = idle.pop()
            if planted:
                tree.write(fault.file, fault.source())
            child = Child(tree, plan.tests, baseline.seconds, patience, patience * (60 + 6 * plan.seconds))
            running.append((fault, planted, patience, plan, child))
        for entry in list(running):
            fault, planted, patience, plan, child = entry
            outcome = child.finished()
            if outcome is None:
                continue
            running.remove(entry)
            child.tree.restore(fault.file)
            idle.append(child.tree)
            if outcome == "hung" and patience == 1:
                waiting.insert(0, (fault, planted, 4))  # a busy machine looks like a hang: again, at the end
            else:
                yield _record(fault, planted, plan, outcome, child.seen(), child.seconds)
        time.sleep(0.01)


def _record(
    fault: Fault, planted: bool, plan: Plan, outcome: str, seen: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    return {
        "file": fault.file, "line": fault.lines.start, "function": fault.function, "kind": fault.kind,
        "before": fault.before, "after": fault.after, "nth": fault.nth, "planted": planted, "outcome": outcome,
        "by": seen.get("test"), "said": seen.get("said"), "tests": len(plan.tests), "left_out": plan.left_out,
        "seconds": round(seconds, 2),
    }  # fmt: skip


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = {_key(each) for each in yaml.safe_load(EQUIVALENTS.read_text(encoding="utf-8")) or ()}
    planted = [result for result in results if result["planted"]]
    survivors = [result for result in planted if result["outcome"] in {"survived", "uncovered"}]
    equivalent = [result for result in survivors if _key(result) in known]
    noticed, judged = len(planted) - len(survivors), len(planted) - len(equivalent)
    controls = [result for result in results if not result["planted"] and result["outcome"] != "uncovered"]
    return {
        "planted": len(planted),
        "outcomes": dict(Counter(result["outcome"] for result in planted)),
        "equivalent": len(equivalent),
        "noticed": noticed,
        "judged": judged,
        "rate": noticed / judged if judged else None,
        "interval_95": _interval(noticed, judged),
        "interval_95_equivalents_counted_as_survivors": _interval(noticed, len(planted)),
        "by_file": _rates(planted, known, "file"),
        "by_kind": _rates(planted, known, "kind"),
        "controls": len(controls),
        "false_alarms": [result["by"] for result in controls if result["outcome"] != "survived"],
    }


def _interval(noticed: int, of: int) -> tuple[float, float]:
    from imgvec.intervals import share_interval  # when no child is forked any more: they import the faulty imgvec

    return share_interval(noticed / max(1, of), of)


def _rates(planted: Sequence[Mapping[str, Any]], known: set[tuple[Any, ...]], name: str) -> dict[str, str]:
    rates: dict[str, list[int]] = {}
    for result in planted:
        survived = result["outcome"] in {"survived", "uncovered"}
        if not (survived and _key(result) in known):
            pair = rates.setdefault(result[name], [0, 0])
            pair[0] += not survived
            pair[1] += 1
    return {key: f"{noticed} of {judged}" for key, (noticed, judged) in sorted(rates.items())}


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry["file"], entry["function"], entry["before"], entry["after"], entry.get("nth", 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests for one fault, at most")
    parser.add_argument("--controls", type=int, default=20)
    parser.add_argument("--tests", nargs="*", default=TESTS, help="the tests that may notice; fewer notice no more")
    parser.add_argument("--out", type=Path, default=Path("mutation-report"))
    parser.add_argument("--baseline", type=Path, help="the baseline.json of a run of the same code and tests")
    parser.add_argument("--only", nargs="*", default=SCOPE, help="files and folders to plant faults in")
    parser.add_argument(
        "--again", type=Path, help="a results.jsonl whose survivors are tried again, instead of a sample"
    )
    parser.add_argument("--summarise", type=Path, help="print the summary of a results.jsonl, and end")
    given = parser.parse_args()
    if given.summarise:
        print(json.dumps(summary(_read(given.summarise)), indent=1))
        return 0
    files = files_of(given.only)
    if given.again:
        wanted = {_key(r) for r in _read(given.again) if r["planted"] and r["outcome"] in {"survived", "uncovered"}}
        texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in files_of(SCOPE)}
        sample = [fault for file, text in texts.items() for fault in faults_in(file, text) if fault.key in wanted]
        files = sorted({fault.file for fault in sample})
        print(f"{len(sample)} of {len(wanted)} survivors can still be planted", file=sys.stderr)
    else:
        sample = drawn(files, given.sample, given.seed)
    controls = random.Random(given.seed + 1).sample(sample, min(given.controls, len(sample)))
    # spread among the others, so that they see the machine as those do
    work = [(fault, True) for fault in sample]
    for position, fault in enumerate(controls):
        work.insert((position + 1) * len(work) // (len(controls) + 1), (fault, False))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the children first
    given.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="imgvec-mutation-") as folder:
        preload()
        trees = [Tree(ROOT, Path(folder) / str(number)) for number in range(given.workers)]
        start = time.monotonic()
        if given.baseline:
            baseline = Baseline.load(given.baseline, trees[0].path)
        else:
            baseline = learn(trees, files, given.tests)
            baseline.save(given.out / "baseline.json", trees[0].path)
        print(f"{baseline} ({time.monotonic() - start:.0f} s)", file=sys.stderr)
        with (given.out / "results.jsonl").open("w", encoding="utf-8") as log:
            for record in outcomes(work, baseline, trees, given.budget):
                results.append(record)
                log.write(json.dumps(record) + "\n")
                log.flush()
    found = {**summary(results), "seed": given.seed, "minutes": round((time.monotonic() - start) / 60, 1)}
    (given.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
