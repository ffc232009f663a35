"""From answers to rows: what each choice of an export adds or takes, counted without reading a text."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, case, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.core.records import Assignment, Preference, Prompt, Task
from app.core.snapshots import is_current, is_ordinary, is_overall
from app.core.words import N_
from app.data.forms import ExportOptions


@dataclass(frozen=True)
class Waterfall:
    """The way from all answers to the rows of a file: what each choice adds or takes, and where the rows end up."""

    labels: int
    falls: dict[str, int]
    splits: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(self.splits.values())

    @property
    def widest(self) -> int:
        """The most that there is at any point of the way."""
        here, widest = self.labels, self.labels
        for change in self.falls.values():
            here += change
            widest = max(widest, here)
        return widest

    def bars(self) -> list[tuple[str, int, float, float]]:
        """(label, change, start, width) of each fall, in percent of the widest place."""
        drawn, here = [], self.labels
        for label, change in self.falls.items():
            start = min(here, here + change)
            drawn.append((label, change, 100 * start / max(self.widest, 1), 100 * abs(change) / max(self.widest, 1)))
            here += change
        return drawn


def waterfall(db: Session, project_id: int, options: ExportOptions) -> Waterfall:
    """What the options leave of the project's answers. Reads no text."""
    by_split = _answers(db, project_id)
    ended = _ended(db, project_id, options)
    total: Counter[str] = sum(by_split.values(), Counter())
    skipped = sum(ended.values())
    if options.native:
        falls = {N_("Records of taking back"): total["markers"], N_("Skipped or reported"): skipped}
        if options.late == "drop":
            falls[N_("Late answers")] = -total["late_rows"]
        splits = {
            s: n["labels"] + n["markers"] - n["late_rows"] * (options.late == "drop") for s, n in by_split.items()
        }
        return Waterfall(total["labels"], falls, dict(Counter(splits) + ended))
    falls = {
        N_("Withdrawn or replaced"): -total["replaced"],
        N_("Skipped or reported"): -skipped,
        **({N_("On single aspects"): -total["aspects"]} if total["aspects"] else {}),
        N_("Gold tasks"): -total["gold"],
        N_("Repeated tasks"): -total["repeats"],
    }
    ties = {"drop": 0, "both": 2}[options.ties]
    if options.late == "drop":
        falls[N_("Late answers")] = -total["late_answers"] - total["late_bad"]
    kept = {s: _kept(n, options.late == "drop") for s, n in by_split.items()}
    left: Counter[str] = sum(kept.values(), Counter())
    falls[N_("Both bad")] = -left["bad"]
    if several := left["decided"] + left["level"] - left["answers"]:
        falls[N_("Pairs of several answers")] = several
    falls[N_("Same")] = left["level"] * (ties - 1)
    splits = {s: n["decided"] + ties * n["level"] for s, n in kept.items()}
    return Waterfall(total["labels"] + skipped, falls, {s: n for s, n in splits.items() if n})


def _kept(counts: Counter[str], without_late: bool) -> Counter[str]:
    """What holds now."""
    return Counter({n: counts[n] - counts[f"late_{n}"] * without_late for n in ("answers", "bad", "decided", "level")})


def _answers(db: Session, project_id: int) -> dict[str, Counter[str]]:
    """Counts of preference rows by split and fate; of current answers to ordinary tasks also the pairs they make:
    `decided` ones, and `level` ones of answers that are equally good."""
    said = ~Preference.withdrawn
    holds = is_current() & is_ordinary()
    fates: dict[str, ColumnElement[bool] | InstrumentedAttribute[bool]] = {
        "labels": said,
        "markers": Preference.withdrawn,
        "aspects": said & ~is_overall(),
        "replaced": said & is_overall() & ~is_current(),
        "gold": is_current() & Task.gold.is_not(None),
        "repeats": is_current() & Task.gold.is_(None) & Task.repeat_of.is_not(None),
        "late_rows": Assignment.late,
    }
    fates["answers"] = holds & (Preference.outcome != "all_bad")
    fates["bad"] = holds & (Preference.outcome == "all_bad")
    sizes = func.jsonb_array_elements(Preference.tiers).table_valued("value").lateral()
    size = func.jsonb_array_length(sizes.c.value)
    shape = select(func.sum(size).label("n"), func.sum(size * size).label("squares")).select_from(sizes).lateral()
    # Of n answers n² − Σ size² ordered pairs lie across tiers, Σ size² − n within one. A choice orders only across.
    pairs = {
        "decided": (shape.c.n * shape.c.n - shape.c.squares) / 2,
        "level": case((Preference.outcome == "best", 0), else_=(shape.c.squares - shape.c.n) / 2),
    }
    counted: list[ColumnElement[Any]] = []
    for name, fate in list(fates.items()):
        counted.append(func.count(case((fate, 1))).label(name))
        if name in ("answers", "bad"):
            counted.append(func.count(case((fate & Assignment.late, 1))).label(f"late_{name}"))
    for name, number in pairs.items():
        for prefix, fate in (("", fates["answers"]), ("late_", fates["answers"] & Assignment.late)):
            counted.append(func.coalesce(func.sum(case((fate, number))), 0).cast(Integer).label(prefix + name))
    rows = db.execute(
        select(Prompt.split, *counted)
        .join(Assignment, Assignment.id == Preference.assignment_id)
        .join(Task, Task.id == Preference.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(shape, true())
        .where(Preference.project_id == project_id)
        .group_by(Prompt.split)
    )
    names = [column.name for column in counted]
    return {row.split: Counter({name: int(row._mapping[name]) for name in names}) for row in rows}


def _ended(db: Session, project_id: int, options: ExportOptions) -> Counter[str]:
    """Skipped and reported tasks, by split."""
    rows = db.execute(
        select(Prompt.split, func.count().label("n"))
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(without_label(project_id, options))
        .group_by(Prompt.split)
    )
    return Counter({row.split: row.n for row in rows})


def without_label(project_id: int, options: ExportOptions) -> ColumnElement[bool]:
    """True for assignments that ended without a label: skipped or reported."""
    skipped = (Assignment.project_id == project_id) & Assignment.outcome.in_(("skipped", "reported"))
    return skipped & ~Assignment.late if options.native and options.late == "drop" else skipped
