"""Starting the product over what a power cut may leave, state after state.

To be run in a child of ``isolated``, whose data directory is written anew each time;
each start is in a copy of the child.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from undersigned.config.env import read_environment
from undersigned.drills.forked import run_forked
from undersigned.drills.report import Values
from undersigned.drills.restart import Facts, examine
from undersigned.drills.story import Moment, Story, follow


def judge_states(values: Values) -> Values:
    """Return the faults found in each state, in the order of ``cuts``."""
    story = Story.read(Path(values["story"]))
    cuts = json.loads(Path(values["cuts"]).read_text(encoding="utf-8"))
    data = read_environment().data
    found: list[list[str]] = []
    waiting = list(cuts)
    for moment, _record in follow(Path(values["journal"])):
        while waiting and waiting[0]["position"] == moment.position:
            cut = waiting.pop(0)
            found.append(judge_state(story, moment, cut, data))
        if not waiting:
            break
    return {"faults": found}


def judge_state(story: Story, moment: Moment, cut: Values, data: Path) -> list[str]:
    """Write one state, start over it, and return what is wrong."""
    shutil.rmtree(data, ignore_errors=True)
    moment.platter.write_state(data, model=cut["model"], rng=random.Random(cut["seed"]))
    facts = story.make_facts(moment.position, moment.at, list(moment.notes))
    return start_over(facts)


def start_over(facts: Facts) -> list[str]:
    """Examine this process's data directory in a copy of it; return the faults."""
    ended = run_forked(lambda _leave: {"faults": examine(facts)})
    if ended.found is None:
        lines = ended.said.strip().splitlines()
        return [f"start: status {ended.status}: {' / '.join(lines[-3:])[-400:]}"]
    faults: list[str] = ended.found["faults"]
    return faults
