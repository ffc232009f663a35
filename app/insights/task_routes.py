"""The admins' pages about tasks: the list, one task, and the gold ones."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core import gold
from app.core.errors import Conflict, InvalidInput
from app.core.projects import settings_of
from app.core.words import gettext
from app.insights import quality, tasks
from app.web.dependencies import ADMINS, Access, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}")
Text = Annotated[str, Form()]


@router.get("/tasks")
def task_list(request: Request, slug: str, show: str = "open", before: int | None = None) -> Response:
    """What waits, what is done, and what everybody agreed on."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        lines = tasks.lines(db, project.id, show, before)
        older = lines[-1].task.id if len(lines) == tasks.PAGE else None
        return render(request, "insights/tasks.html", lines=lines, show=show, older=older, before=before)


@router.get("/tasks/{task_id}")
def task_page(request: Request, slug: str, task_id: int) -> Response:
    """One task: its texts, what was said, its right answer, and who may answer it."""
    with request.app.state.uow() as db:
        return _task(request, db, member(db, request, slug, *ADMINS), task_id)


@router.post("/tasks/{task_id}/people")
def keep_for(request: Request, slug: str, task_id: int) -> Response:
    """Say who may answer it, and how early it comes."""
    form = {name: value for name, value in request.state.form.items() if isinstance(value, str)}
    chosen = {int(one) for one in request.state.form.getlist("people") if str(one).isascii() and str(one).isdigit()}
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        try:
            tasks.keep_for(db, access.project, task_id, access.user, form=form, chosen=chosen)
        except InvalidInput as error:
            return _task(request, db, access, task_id, 422, errors=messages(error))
    return say(request, see_other(request, f"/projects/{slug}/tasks/{task_id}"), gettext("Saved."))


@router.get("/gold")
def gold_page(request: Request, slug: str) -> Response:
    """All gold tasks, and how people did on them."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        return render(
            request,
            "insights/gold.html",
            gold=quality.gold_tasks(db, project.id),
            people=quality.people(db, project.id),
            pool=settings_of(project).pool,
        )


@router.get("/gold/new")
def new_gold(request: Request, slug: str) -> Response:
    """The next open task that nobody was handed yet, for a right answer."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        task_id = tasks.next_for_gold(db, project.id)
    if task_id is None:
        words = gettext("No task waits that nobody was handed yet.")
        return say(request, see_other(request, f"/projects/{slug}/gold"), words, "info")
    return see_other(request, f"/projects/{slug}/tasks/{task_id}")


@router.post("/tasks/{task_id}/gold")
def make_gold(request: Request, slug: str, task_id: int, answer: Text = "", agreed: Text = "") -> Response:
    """Give the right answer, or take what everybody said."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        tasks.task_of(db, access.project, task_id)
        try:
            if agreed:
                gold.make_gold_as_agreed(db, task_id, access.user)
            else:
                # A ranking is written as an order, everything else is one choice.
                given = {"order" if ">" in answer or "=" in answer else "choice": answer}
                gold.make_gold(db, task_id, given, access.user)
        except InvalidInput as error:
            words = error.problems[0].message
            return _task(request, db, access, task_id, 422, wrong=words, given=answer)
        except Conflict as error:
            return _task(request, db, access, task_id, 409, problem=str(error))
    return say(
        request, see_other(request, f"/projects/{slug}/gold"), gettext("It is gold. Everybody may meet it once.")
    )


@router.post("/tasks/{task_id}/gold/remove")
def unmake_gold(request: Request, slug: str, task_id: int) -> Response:
    """Make it an ordinary task again."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        tasks.task_of(db, access.project, task_id)
        gold.unmake_gold(db, task_id, access.user)
    return say(
        request, see_other(request, f"/projects/{slug}/tasks/{task_id}"), gettext("It is an ordinary task again.")
    )


def _task(request: Request, db: Session, access: Access, task_id: int, status: int = 200, **context: Any) -> Response:
    return render(
        request,
        "insights/task.html",
        status=status,
        opened=tasks.opened(db, access.project, task_id),
        overlap=settings_of(access.project).pool.answers_per_task,
        **{"errors": {}, **context},
    )
