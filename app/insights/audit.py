"""The audit log: who did what. Rows hold an action in English; a page says it in the language of whoever reads."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.records import AuditEvent, User
from app.core.told import told
from app.core.words import N_, gettext

PAGE = 50
SAID = {
    "archived": N_("%(who)s archived %(thing)s"),
    "became owner": N_("%(who)s became owner"),
    "cancelled": N_("%(who)s cancelled %(thing)s"),
    "changed": N_("%(who)s changed %(thing)s"),
    "changed guidelines": N_("%(who)s changed the guidelines: version %(thing)s"),
    "changed password": N_("%(who)s changed a password"),
    "changed protocol": N_("%(who)s changed the questions: version %(thing)s"),
    "changed role": N_("%(who)s changed the role of %(thing)s"),
    "changed settings": N_("%(who)s changed the settings of %(thing)s"),
    "changed the daily cap of": N_("%(who)s changed the daily cap of %(thing)s"),
    "created": N_("%(who)s created %(thing)s"),
    "created export": N_("%(who)s made %(thing)s"),
    "did not pass the screening": N_("%(who)s did not pass the screening %(thing)s"),
    "disabled": N_("%(who)s disabled %(thing)s"),
    "downloaded export": N_("%(who)s downloaded %(thing)s"),
    "failed": N_("%(who)s: %(thing)s failed"),
    "gave up the gold of": N_("%(who)s made %(thing)s an ordinary task again"),
    "imported comparisons": N_("%(who)s imported comparisons: %(thing)s"),
    "imported prompts": N_("%(who)s imported prompts: %(thing)s"),
    "invited": N_("%(who)s made an invitation for %(thing)s"),
    "joined": N_("%(who)s joined: %(thing)s"),
    "judged refused": N_("%(who)s judged and refused %(thing)s"),
    "judged waiting": N_("%(who)s judged %(thing)s, which waits for a decision"),
    "let in": N_("%(who)s let in %(thing)s"),
    "made gold": N_("%(who)s made %(thing)s gold"),
    "marked sensitive": N_("%(who)s marked sensitive: %(thing)s"),
    "passed the screening": N_("%(who)s passed the screening %(thing)s"),
    "paused labeling": N_("%(who)s paused labeling of %(thing)s"),
    "promoted": N_("%(who)s promoted %(thing)s"),
    "refused": N_("%(who)s refused %(thing)s"),
    "refused to serve": N_("%(who)s refused to serve %(thing)s"),
    "removed": N_("%(who)s removed %(thing)s"),
    "restored": N_("%(who)s restored %(thing)s"),
    "resumed": N_("%(who)s resumed %(thing)s"),
    "resumed labeling": N_("%(who)s resumed labeling of %(thing)s"),
    "revoked an invitation": N_("%(who)s revoked an invitation for %(thing)s"),
    "rolled back": N_("%(who)s rolled back to %(thing)s"),
    "started a round": N_("%(who)s started %(thing)s"),
    "task.reported": N_("%(who)s reported %(thing)s"),
    "took the sensitive mark from": N_("%(who)s took the sensitive mark from %(thing)s"),
}
"""Every action that is recorded (tests/insights/test_audit.py holds the two together)."""
THINGS = {
    "deployments": N_("deployment %(n)s"),
    "exports": N_("export %(n)s"),
    "imports": N_("import %(n)s"),
    "models": N_("model %(n)s"),
    "projects": N_("project %(n)s"),
    "rounds": N_("round %(n)s"),
    "tasks": N_("task %(n)s"),
    "users": N_("person %(n)s"),
}
"""What an event was about, by its table, where it names nothing."""


def events(db: Session, project_id: int, before: int | None = None) -> list[tuple[AuditEvent, str]]:
    """What was done in a project and by whom, newest first, PAGE at a time."""
    query = (
        select(AuditEvent, User.name)
        .outerjoin(User, User.id == AuditEvent.user_id)
        .where(AuditEvent.project_id == project_id)
        .order_by(AuditEvent.id.desc())
        .limit(PAGE)
    )
    if before is not None:
        query = query.where(AuditEvent.id < before)
    return [(event, name or "Palate") for event, name in db.execute(query)]


def said(event: AuditEvent, who: str) -> str:
    """An audit event as a sentence: "Ines promoted v14"."""
    thing = _thing(event)
    words = SAID.get(event.action)
    return gettext(words, who=who, thing=thing) if words else f"{who} {event.action} {thing}"


def _thing(event: AuditEvent) -> str:
    detail: dict[str, Any] = event.detail
    table, _, number = event.subject.partition(":")
    named = detail.get("version") or detail.get("name") or detail.get("email")
    if named is not None:
        return told(str(named))
    if "number" in detail and table == "rounds":
        number = detail["number"]
    return gettext(THINGS[table], n=number) if table in THINGS else f"{table} {number}"


def why(event: AuditEvent) -> str:
    """The reason that was given, or what was said about it; empty without either."""
    found = next((event.detail[key] for key in ("reason", "sentence", "message", "error") if event.detail.get(key)), "")
    return told(str(found))
