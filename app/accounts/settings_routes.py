"""One's own settings: name, look, keys, password, sessions."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.accounts import passwords, preferences, service
from app.core.errors import InvalidInput, NotFound, Problem, TooMany
from app.core.records import User
from app.core.sensitive import avoids, give_back_all
from app.core.words import gettext, ngettext
from app.web.dependencies import current_user
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.security import client_address
from app.web.sessions import revoke_sessions, sessions_of, start_session
from app.web.templating import render
from app.web.words import speak_with

router = APIRouter(prefix="/settings")
Text = Annotated[str, Form()]


@router.get("")
def settings_page(request: Request) -> Response:
    """Everything a person sets for themselves, and where they are signed in."""
    with request.app.state.uow() as db:
        return _page(request, db, current_user(request, db))


@router.post("")
def save_settings(request: Request, name: Text = "") -> Response:
    """Store name and look."""
    with request.app.state.uow() as db:
        user = current_user(request, db)
        name = " ".join(name.split())
        try:
            wanted = preferences.read_look(_posted(request))
            if not 1 <= len(name) <= 80:
                raise InvalidInput([Problem("name", gettext("A name has 1 to 80 characters."))])
        except InvalidInput as error:
            return _page(request, db, user, 422, errors=messages(error))
        user.name = name
        user.preferences = {**user.preferences, **wanted.model_dump(exclude_unset=True)}
        if avoids(user):
            give_back_all(db, user)
        speak_with(request.headers.get("accept-language", ""), user.preferences)
    return say(request, see_other(request, "/settings"), gettext("Saved."))


@router.post("/keys")
def save_keys(request: Request) -> Response:
    """Store keys and pace. A layout with a key that two commands want is refused whole."""
    sent = _posted(request)
    with request.app.state.uow() as db:
        user = current_user(request, db)
        try:
            wanted = preferences.read_hands(sent)
        except InvalidInput as error:
            return _page(request, db, user, 422, errors=messages(error), sent=sent)
        user.preferences = {**user.preferences, **wanted.model_dump(exclude_unset=True)}
    return say(request, see_other(request, "/settings"), gettext("Saved."))


@router.post("/password")
def change_password(request: Request, current: Text = "", password: Text = "") -> Response:
    """Store a new password and end every other session. Wrong tries count like those at the sign-in page."""
    try:
        if problems := service.password_problems(password, "password"):
            raise InvalidInput(problems)
        with request.app.state.uow() as db:
            tried = service.begin_sign_in(db, current_user(request, db).email, client_address(request))
        if not passwords.matches(tried.password_hash, current[: passwords.MOST]):
            raise InvalidInput([Problem("current", gettext("This is not your present password."))])
    except (InvalidInput, TooMany) as error:
        return _again(request, error)
    hashed = passwords.hash_password(password)
    response = say(
        request, see_other(request, "/settings"), gettext("Your password is changed. Other sessions were ended.")
    )
    with request.app.state.uow() as db:
        user = service.finish_sign_in(db, tried, current)
        service.change_password(db, user, hashed)
        revoke_sessions(db, user.id)
        start_session(db, request, response, user)
    return response


@router.post("/sessions/others/end")
def end_other_sessions(request: Request) -> Response:
    """Sign out everywhere but here."""
    with request.app.state.uow() as db:
        user = current_user(request, db)
        count = revoke_sessions(db, user.id, keep=request.state.session_id)
    text = ngettext("%(n)s other session was ended.", "%(n)s other sessions were ended.", count)
    return say(request, see_other(request, "/settings"), text)


@router.post("/sessions/{session_id}/end")
def end_one_session(request: Request, session_id: int) -> Response:
    """Sign out one browser. Ending one's own leads to the sign-in page."""
    with request.app.state.uow() as db:
        user = current_user(request, db)
        if not revoke_sessions(db, user.id, only=session_id):
            raise NotFound
    return say(request, see_other(request, "/settings"), gettext("That session was ended."))


def _posted(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.state.form.items() if isinstance(value, str)}


def _again(request: Request, error: InvalidInput | TooMany) -> Response:
    errors = messages(error) if isinstance(error, InvalidInput) else {"current": str(error)}
    with request.app.state.uow() as db:
        return _page(request, db, current_user(request, db), error.status, errors=errors)


def _page(
    request: Request, db: Session, user: User, status: int = 200, sent: Mapping[str, str] | None = None, **context: Any
) -> Response:
    hands = preferences.stored(preferences.Hands, user.preferences)
    return render(
        request,
        "accounts/settings.html",
        status=status,
        mine=preferences.stored(preferences.Look, user.preferences),
        hands={**hands.model_dump(), **(sent or {})},
        own=preferences.own_keys(hands, sent),
        choices=preferences,
        sessions=sessions_of(db, user.id),
        this_session=request.state.session_id,
        least=passwords.LEAST,
        **{"errors": {}, **context},
    )
