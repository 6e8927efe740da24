"""``unlink``: raw files, the version key and all addresses do not say who signed what.

Each round is one publication interval of a careful campaign. Its files are taken twice:
at a random moment between two publications, and after the publication. Every score is
held against one in the crowd of version, key and interval plus three standard
deviations; in the middle of an interval the crowd is what is pooled by then.

Two attackers look at the same files. The thief has the files, the version key and the
set of addresses. The watcher has, besides, seen in which order people asked; against
him only what is published is protected (PROTOCOL §1: "requests since the last
publication", and what a live observer sees), so his score in between is printed and not
judged.

The controls are the product as it must not be: with a write-ahead log under the
issuance file, and with times kept. There the same attackers must win.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import patch

from undersigned.credentials import operations
from undersigned.drills.campaign import write_campaign
from undersigned.drills.crowd import Actors, Crowd, gather_crowd
from undersigned.drills.isolated import make_folder, run_isolated
from undersigned.drills.linker import (
    Case,
    Hypothesis,
    Score,
    Snapshot,
    attack,
    train_and_test,
)
from undersigned.drills.order import JournalledFile
from undersigned.drills.public_log import list_nonces
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.stage import START, Stage, open_stage
from undersigned.drills.statistics import guess_bound
from undersigned.kernel.clock import round_down
from undersigned.ledger.embedded import EmbeddedStore

INTERVAL = timedelta(minutes=60)
# How often a scene is played again whose score could be luck.
PLAYED_AGAIN = 3
BETWEEN, AFTER = "between two publications", "after a publication"
THIEF, WATCHER = "thief", "watcher"


@dataclass(frozen=True, slots=True)
class Scene:
    """One campaign under attack. ``control``: how the product is broken, or None."""

    name: str
    rounds: int
    signers: int
    tokens_before: int
    control: str | None


def run(values: Values) -> Values:
    """Run the drill.

    Three standard deviations are passed by chance once in some three hundred looks.
    A scene that passes them is played three times again with other people, and all
    together are held against the same three deviations: luck fades with numbers, a leak
    does not.
    """
    options, report = Options(**values), Report("unlink")
    for scene in _list_scenes(options):
        report.say(f"{scene.name}: {scene.signers} signers x {scene.rounds} rounds")
        found = _play_in_child(scene, options.seed)
        if scene.control is None and _is_beyond(found):
            report.say(f"{scene.name}: beyond the bound; three times as many rounds")
            for more in range(1, 1 + PLAYED_AGAIN):
                found = _add_up(found, _play_in_child(scene, options.seed + more))
            report.figures[f"{scene.name}: played again"] = PLAYED_AGAIN
        judge(scene, found, report)
    return report.as_json()


def _play_in_child(scene: Scene, seed: int) -> Values:
    with make_folder(durable=False) as folder:
        return run_isolated(
            "undersigned.drills.unlink:play",
            {**asdict(scene), "seed": seed},
            folder=folder,
        )


def _is_beyond(found: Values) -> bool:
    return any(
        score["right"] > guess_bound(score["expected"])
        for name, score in found["scores"].items()
        if _is_promised(*name.split(", "))
    )


def _is_promised(who: str, moment: str) -> bool:
    return who == THIEF or moment == AFTER


def _add_up(one: Values, other: Values) -> Values:
    scores = {
        name: asdict(Score(**score) + Score(**other["scores"][name]))
        for name, score in one["scores"].items()
    }
    return {"scores": scores, "chosen": one["chosen"]}


def _list_scenes(options: Options) -> list[Scene]:
    signers = options.pick(tiny=20, ci=100, full=200)
    rounds = options.pick(tiny=2, ci=8, full=20)
    few = options.pick(tiny=2, ci=4, full=6)
    return [
        Scene("new campaign", rounds, signers, 0, None),
        # Past the size at which every commit rebuilds the issuance file.
        Scene("large campaign", rounds, signers, 2_500, None),
        Scene("control: write-ahead log", few, signers, 0, "journal"),
        Scene("control: times kept", few, signers, 0, "times"),
    ]


def judge(scene: Scene, found: Values, report: Report) -> None:
    """Turn the scores of one scene into checks."""
    for who in (THIEF, WATCHER):
        for moment in (BETWEEN, AFTER):
            score = Score(**found["scores"][f"{who}, {moment}"])
            chosen = found["chosen"][f"{who}, {moment}"]
            bound = guess_bound(score.expected)
            said = (
                f"{score.right} of {score.guesses} right, by chance "
                f"{score.expected:.1f}, bound {bound:.1f}"
            )
            name = f"{scene.name}: {who}, {moment}"
            report.figures[name] = {
                "right": score.right,
                "guesses": score.guesses,
                "expected": round(score.expected, 2),
                "bound": round(bound, 2),
                "chosen": chosen,
            }
            if scene.control is not None:
                _judge_control(name, score, said, report)
            elif _is_promised(who, moment):
                report.check(
                    f"{name}: no better than one in the crowd",
                    score.right <= bound,
                    said,
                )
            else:
                report.figures[f"{name}, not promised"] = said


def _judge_control(name: str, score: Score, said: str, report: Report) -> None:
    wins = max(5 * score.expected, 0.2 * score.guesses)
    report.check(f"{name}: the same attacker wins", score.right >= wins, said)


# --- in a child: one campaign, many intervals


def play(values: Values) -> Values:
    """Run one scene's campaign and attack it; return scores by attacker and moment."""
    rng = random.Random(f"{values['seed']} {values['name']}")
    scene = Scene(**{field.name: values[field.name] for field in fields(Scene)})
    scores: dict[str, list[dict[Hypothesis, Score]]] = {}
    with break_product(scene.control), open_stage(at=_begin()) as stage:
        campaign = stage.open_campaign(
            write_campaign(
                "unlink", mode="careful", interval_minutes=60, show_names=False
            )
        )
        actors = Actors(stage, campaign)
        _fill_issuance(stage, campaign.origin, scene.tokens_before)
        stage.engine.tick(stage.clock.now())
        for number in range(scene.rounds):
            begin = _begin() + (number + 1) * INTERVAL
            crowd = gather_crowd(
                rng, label=f"r{number}", count=scene.signers, begin=begin, span=INTERVAL
            )
            looks = _live_through(stage, actors, crowd, rng, campaign.path, scene)
            for moment, case, asked in looks:
                found = attack(case, asked=asked)
                for who, score in zip((THIEF, WATCHER), found, strict=True):
                    scores.setdefault(f"{who}, {moment}", []).append(score)
    results = {name: train_and_test(seen) for name, seen in scores.items()}
    return {
        "scores": {name: asdict(score) for name, (score, _chosen) in results.items()},
        "chosen": {name: chosen for name, (_score, chosen) in results.items()},
    }


def _begin() -> datetime:
    return round_down(START, seconds=3600)


def _live_through(
    stage: Stage,
    actors: Actors,
    crowd: Crowd,
    rng: random.Random,
    path: str,
    scene: Scene,
) -> Iterator[tuple[str, Case, list[bytes]]]:
    """Play one interval; yield the look in its middle and the one after it."""
    data = stage.engine.environment.data
    folder = stage.engine.environment.public / path
    before = len(list_nonces(folder, actors.challenge_digest))
    moment = rng.randrange(len(crowd.events) // 3, len(crowd.events))
    for number, (at, person, step) in enumerate(crowd.events):
        actors.act(at, person, step)
        if scene.control == "times" and step != "ask":
            _note_time(data, at, person.nullifier if step == "issue" else person.nonce)
        if number == moment:
            yield BETWEEN, *_look(data, crowd, _list_pooled(crowd, rng), rng)
    stage.clock.set(crowd.people[0].times["ask"].replace(minute=0, second=0) + INTERVAL)
    stage.engine.tick(stage.clock.now())
    leaves = [
        nonce for _index, nonce in list_nonces(folder, actors.challenge_digest)[before:]
    ]
    if len(leaves) != len(crowd.people):
        raise RuntimeError(f"{len(leaves)} leaves for {len(crowd.people)} signers")
    yield AFTER, *_look(data, crowd, leaves, rng)


def _list_pooled(crowd: Crowd, rng: random.Random) -> list[bytes]:
    pooled = [person.nonce for person in crowd.people if person.has_signed]
    rng.shuffle(pooled)
    return pooled


def _look(
    data: Path, crowd: Crowd, leaves: list[bytes], rng: random.Random
) -> tuple[Case, list[bytes]]:
    """Return the files with the truth about them, and the order of asking."""
    known = [person for person in crowd.people if person.nonce]
    asked = [person.nullifier for person in known]
    case = Case(
        snapshot=copy_raw(data),
        addresses=rng.sample(asked, len(asked)),
        leaves=leaves,
        truth={person.nullifier: person.nonce for person in known},
    )
    return case, asked


def copy_raw(data: Path) -> Snapshot:
    """Return the raw bytes of every file of an instance, secrets aside.

    The attacker is given the version key; the other secrets tell no order.
    """
    found: Snapshot = {}
    for path in sorted(data.rglob("*")):
        name = str(path.relative_to(data))
        if path.is_file() and not name.startswith("secrets/"):
            found[name] = path.read_bytes()
    return found


def _fill_issuance(stage: Stage, origin: str, rows: int) -> None:
    """Give a campaign tokens from before, so that its issuance file is large."""
    if not rows:
        return
    issuer = stage.engine.services.issuer
    file = issuer.get_version(origin).file
    if file is None:
        raise RuntimeError("the campaign has no issuance file")
    rng = random.Random(rows)

    def fill() -> None:
        file.begin()
        for _number in range(rows):
            nullifier = rng.randbytes(32)
            file.add_ticket(nullifier, 1)
            file.spend(
                ticket_hash=nullifier,
                nullifier=nullifier,
                key_index=0,
                request=rng.randbytes(32),
            )
        file.commit()
        file.rebuild()

    issuer.run(fill)


# --- controls


@contextmanager
def break_product(control: str | None) -> Iterator[None]:
    """Run the product as it must not be."""
    with ExitStack() as stack:
        if control == "journal":
            stack.enter_context(
                patch.object(operations, "IssuanceFile", JournalledFile)
            )
            stack.enter_context(
                patch.object(EmbeddedStore, "empty_journal", partial(_keep_journal))
            )
        yield


def _keep_journal(*_arguments: object) -> None:
    return None


def _note_time(data: Path, at: datetime, item: bytes) -> None:
    with (data / "access.log").open("ab") as file:
        file.write(int(at.timestamp() * 1000).to_bytes(8) + item)
