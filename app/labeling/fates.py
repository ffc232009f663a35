"""What became of answers: which rounds froze them into their snapshot."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, BigInteger, bindparam, func, select, text
from sqlalchemy.orm import Session

from app.core.records import Preference, Project, Round, Snapshot
from app.core.words import N_, gettext

ROUNDS = 3
"""How many of the newest rounds are asked; an answer that none of them has says nothing."""
NOT_USED = ("failed", "cancelled")
USED = N_("Round %(n)s used this answer.")
LEARNS = N_("Round %(n)s is learning from this answer.")
USED_OLD = N_("Round %(n)s used the old answer; the next round uses this one.")
LEARNS_OLD = N_("Round %(n)s is learning from the old answer; the next round uses this one.")
USED_REPLACED = N_("Round %(n)s used the old answer.")
LEARNS_REPLACED = N_("Round %(n)s is learning from the old answer.")

# The ids of a snapshot ascend (app.core.snapshots.matching), so two binary searches cut out the part that can hold
# those of a page; nothing walks the whole list of a project with a million answers.
_HELD = text("""
select held.id
from snapshots s
cross join lateral unnest(s.preference_ids[
  width_bucket(cast(:low as bigint), s.preference_ids) : width_bucket(cast(:high as bigint), s.preference_ids)
]) as held (id)
where s.id = :snapshot and held.id = any(:ids)""").bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


class Fates:
    """The newest rounds of a project, and which of some preferences each of them has.

    A task whose right answer is known takes no part in a round. Its answers say the same as those around them: other
    words, or none, would tell which tasks these are.
    """

    def __init__(self, db: Session, project: Project, rows: Sequence[Preference], known_tasks: set[int]) -> None:
        self.newest = 0
        self.rounds: list[tuple[int, bool, set[int]]] = []
        """(number, whether it still learns, ids of preferences), newest first."""
        if not rows:
            return
        found = db.execute(
            select(
                Round.number,
                Round.state,
                Round.snapshot_id,
                func.coalesce(Snapshot.preference_ids[func.cardinality(Snapshot.preference_ids)], 0).label("last"),
            )
            .join(Snapshot, Snapshot.id == Round.snapshot_id)
            .where(Round.project_id == project.id, Round.state.not_in(NOT_USED))
            .order_by(Round.number.desc())
            .limit(ROUNDS)
        ).all()
        ids = [row.id for row in rows]
        successor = {row.supersedes_id: row.id for row in rows}
        for one in found:
            place = {"snapshot": one.snapshot_id, "low": min(ids), "high": max(ids), "ids": ids}
            held = set(db.scalars(_HELD, place)) if min(ids) <= one.last else set()
            held |= {
                row.id
                for row in rows
                if row.task_id in known_tasks and row.id <= one.last < successor.get(row.id, one.last + 1)
            }
            self.rounds.append((one.number, one.state in ("queued", "running"), held))
            self.newest = max(self.newest, one.last)

    def of(self, holding: Sequence[Preference], old: Sequence[Preference]) -> str:
        """A sentence about an answer: the rows that hold now, and those that were replaced or taken back before."""
        teaches = [row.id for row in holding if row.outcome != "all_bad"]  # "all bad" makes no pair to learn from
        for number, learning, held in self.rounds:
            if held.intersection(teaches):
                return gettext(LEARNS if learning else USED, n=number)
            if held & {row.id for row in old if row.outcome != "all_bad"}:
                words = (
                    (LEARNS_OLD if learning else USED_OLD)
                    if teaches
                    else (LEARNS_REPLACED if learning else USED_REPLACED)
                )
                return gettext(words, n=number)
        return gettext("Used in no round yet.") if teaches and min(teaches) > self.newest else ""
