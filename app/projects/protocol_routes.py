"""The page where an admin composes what people are asked, and sees it as they will."""

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.core.errors import InvalidInput
from app.core.forms import parse_protocol, segments_of
from app.core.projects import protocol_of
from app.core.queue import Served
from app.core.words import N_, gettext
from app.projects import protocol_forms, service
from app.web.dependencies import ADMINS, Access, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}/protocol")
SAMPLES = (
    N_("Sourdough is slower: wild yeast and bacteria raise it over **many hours**, which gives it its taste."),
    N_("Yeast makes bread rise.\n\n1. Mix flour, water, salt and yeast.\n2. Wait an hour.\n3. Bake."),
    N_("It depends on the flour, on the warmth of the kitchen and on how long you wait."),
)


@router.get("")
def protocol_page(request: Request, slug: str) -> Response:
    """The form as it is now, ready to be changed."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        fields = protocol_of(db, access.project).fields
        return _page(request, db, access, protocol_forms.blocks_of(fields))


@router.post("")
def change_protocol(request: Request, slug: str) -> Response:
    """One act of the editor: add, remove, up, preview; or save the next version."""
    form = {name: value for name, value in request.state.form.items() if isinstance(value, str)}
    act, blocks = form.get("act", "save"), protocol_forms.sent_blocks(form)
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        if act not in ("save", "preview"):
            return _page(request, db, access, protocol_forms.changed(blocks, act))
        try:
            fields = protocol_forms.fields_of(blocks)
            if act == "preview":
                return render(request, "projects/protocol_preview.html", task=_sample(fields), number=1)
            version = service.save_protocol(db, access.project, access.user, fields)
        except InvalidInput as error:
            return _page(request, db, access, blocks, 422, errors=messages(error))
    text = gettext("New tasks use version %(n)s of the questions.", n=version)
    return say(request, see_other(request, f"/projects/{slug}/protocol"), text)


def _sample(fields: list[dict[str, Any]]) -> Served:
    parsed = parse_protocol(fields)
    count = segments_of(parsed)
    answers = [gettext(SAMPLES[number % len(SAMPLES)]) for number in range(count)]
    question = [{"role": "user", "content": gettext("What makes sourdough different from other bread?")}]
    return Served(uuid4(), uuid4(), question, answers, parsed, None)


def _page(
    request: Request, db: Session, access: Access, blocks: list[dict[str, str]], status: int = 200, **context: Any
) -> Response:
    return render(
        request,
        "projects/protocol.html",
        status=status,
        protocol=protocol_of(db, access.project),
        blocks=blocks,
        adds=protocol_forms.ADDS,
        **{"errors": {}, **context},
    )
