"""What the pages of rounds show: the list, one round with its runs, figures, samples and story."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.artifacts import ArtifactStore, BrokenArtifact
from app.core.errors import NotFound
from app.core.recipes import TITLES
from app.core.records import AuditEvent, Model, Round, Run, RunMetric, Snapshot, User
from app.core.records.base import Json
from app.core.told import told
from app.core.words import N_, gettext

PAGE = 50
MOST_SAMPLES = 6
ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class RoundRow:
    """One line of the table of rounds."""

    round: Round
    labels: int
    candidate: str | None
    by: str | None
    accuracy: float | None
    kl: float | None
    win_rate: float | None
    length_ratio: float | None

    @property
    def sentence(self) -> str:
        """What became of it."""
        return told(str(self.round.verdict.get("sentence") or self.round.note))


@dataclass(frozen=True)
class RoundPage:
    """Everything about one round."""

    round: Round
    runs: dict[str, Run]
    snapshot: Snapshot
    parent: Model
    candidate: Model | None
    by: str | None
    figures: dict[str, list[tuple[int, float]]]
    before: dict[str, list[tuple[int, float]]]
    """The same figures of the round before, for the dashed line."""
    events: list[tuple[datetime, str]]
    now: datetime

    @property
    def active(self) -> bool:
        """Whether anything may still change by itself."""
        return self.round.state in ACTIVE


def rounds(db: Session, project_id: int, before: int | None = None) -> list[RoundRow]:
    """Rounds, newest first, 50 at a time, below number `before`."""
    query = (
        select(Round, Snapshot.counts, Model.version, User.name)
        .join(Snapshot, Snapshot.id == Round.snapshot_id)
        .outerjoin(Model, Model.id == Round.candidate_model_id)
        .outerjoin(User, User.id == Round.started_by)
        .where(Round.project_id == project_id)
        .order_by(Round.number.desc())
        .limit(PAGE)
    )
    if before is not None:
        query = query.where(Round.number < before)
    return [_row(found, counts, version, name) for found, counts, version, name in db.execute(query)]


def _row(found: Round, counts: Json, version: int | None, name: str | None) -> RoundRow:
    values = {check["name"]: check["value"] for check in found.verdict.get("checks", [])}
    return RoundRow(
        round=found,
        labels=counts.get("train", 0) + counts.get("validation", 0),
        candidate=None if version is None else f"v{version}",
        by=name,
        accuracy=values.get("held_out_accuracy"),
        kl=values.get("kl"),
        win_rate=values.get("win_rate"),
        length_ratio=values.get("length_ratio"),
    )


def find(db: Session, project_id: int, number: int) -> Round:
    """The round with this number, or NotFound."""
    found = db.scalar(select(Round).where(Round.project_id == project_id, Round.number == number))
    if found is None:
        raise NotFound
    return found


def page(db: Session, project_id: int, number: int) -> RoundPage:
    """One round for its page; raises NotFound."""
    found = find(db, project_id, number)
    started_by = db.get(User, found.started_by) if found.started_by else None
    previous = db.scalar(
        select(Round.id)
        .where(Round.project_id == project_id, Round.number < number)
        .order_by(Round.number.desc())
        .limit(1)
    )
    now = db.scalar(select(func.now()))
    assert now is not None  # noqa: S101  (narrowing for the type checker: now() is never null)
    return RoundPage(
        round=found,
        runs={
            run.recipe: run for run in db.scalars(select(Run).where(Run.round_id == found.id).order_by(Run.position))
        },
        snapshot=db.get_one(Snapshot, found.snapshot_id),
        parent=db.get_one(Model, found.parent_model_id),
        candidate=db.get(Model, found.candidate_model_id) if found.candidate_model_id else None,
        by=started_by.name if started_by else None,
        figures=_figures(db, found.id),
        before=_figures(db, previous) if previous else {},
        events=_events(db, found),
        now=now,
    )


def _figures(db: Session, round_id: int) -> dict[str, list[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {}
    rows = db.execute(
        select(RunMetric.name, RunMetric.step, RunMetric.value)
        .join(Run, Run.id == RunMetric.run_id)
        .where(Run.round_id == round_id)
        .order_by(RunMetric.name, RunMetric.step)
    )
    for name, step, value in rows:
        series.setdefault(name, []).append((step, value))
    return series


def _events(db: Session, found: Round) -> list[tuple[datetime, str]]:
    """The story of a round, oldest first: what people and the worker did, from audit events and the runs' own times."""
    people = dict(iter(db.execute(select(User.id, User.name))))
    story: list[tuple[datetime, str]] = []
    for event in db.scalars(select(AuditEvent).where(AuditEvent.subject == f"rounds:{found.id}")):
        who = people.get(event.user_id or 0, "Palate")
        said = event.detail.get("reason") or event.detail.get("message") or event.detail.get("sentence") or ""
        told_so = gettext(ACTIONS[event.action], who=who) if event.action in ACTIONS else f"{who}: {event.action}."
        story.append((event.at, f"{told_so} {told(said)}".strip()))
    for run in db.scalars(select(Run).where(Run.round_id == found.id)):
        if run.started_at:
            story.append(
                (run.started_at, gettext("%(recipe)s started, seed %(n)s.", recipe=name_of(run.recipe), n=run.seed))
            )
        if run.finished_at:
            ended = gettext(ENDS.get(run.state, "%(recipe)s %(state)s."), recipe=name_of(run.recipe), state=run.state)
            story.append((run.finished_at, ended + (f" {told(run.error)}" if run.error else "")))
    return sorted(story)


ENDS = {
    "done": N_("%(recipe)s done."),
    "failed": N_("%(recipe)s failed."),
    "cancelled": N_("%(recipe)s cancelled."),
}
ACTIONS = {
    "started a round": N_("%(who)s: started a round."),
    "judged waiting": N_("%(who)s: judged, and waits for a decision."),
    "judged refused": N_("%(who)s: judged and refused."),
    "failed": N_("%(who)s: failed."),
    "cancelled": N_("%(who)s: cancelled."),
    "resumed": N_("%(who)s: resumed."),
    "refused": N_("%(who)s: refused."),
}
"""What is done to a round (the actions of its audit events), as its log says it."""


def name_of(recipe: str) -> str:
    """What pages call a recipe."""
    return gettext(TITLES.get(recipe, recipe))


def samples(found: RoundPage, artifacts: Path) -> list[Json]:
    """Held-out prompts with what base, live policy and candidate answered, largest gain in reward first."""
    run = found.runs.get("evaluate")
    digest = run.result.get("samples") if run else None
    if not digest:
        return []
    try:
        rows = json.loads((ArtifactStore(artifacts).path(digest) / "samples.json").read_text())["samples"]
    except (OSError, ValueError, KeyError, BrokenArtifact):
        return []
    shown = [_sample(row) for row in rows if row.get("live") and row.get("candidate")]
    return sorted(shown, key=lambda row: float(-row["gain"]))[:MOST_SAMPLES]


def _sample(row: Json) -> Json:
    """The first answer of each policy: {"messages", "live": {"text", "score", …}, "candidate": {…}, "gain"}."""
    live, candidate = (row[name][0] for name in ("live", "candidate"))
    return {
        "messages": row["messages"],
        "live": live,
        "candidate": candidate,
        "gain": candidate["score"] - live["score"],
    }
