"""Pages for signing in, the first account and invitations."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.accounts import passwords, service
from app.accounts.machine import machine
from app.accounts.settings_routes import router as settings_router
from app.core.errors import InvalidInput, Problem, TooMany
from app.core.records import User
from app.core.words import N_, gettext
from app.web.dependencies import current_user, public, visitor
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import local_path, see_other, wants_json
from app.web.security import client_address
from app.web.sessions import csrf_token, end_session, give_visitor_cookie, start_session
from app.web.templating import render


class NewAccount(BaseModel):
    """What the two account forms send; checked by service.check_account."""

    name: str = ""
    email: str = ""
    password: str = ""
    start: str = "demo"


MISMATCH = N_("E-mail and password do not match.")
router = APIRouter()
router.include_router(settings_router)
Text = Annotated[str, Form()]


@router.get("/sign-in")
@public
def sign_in_page(request: Request, next: str = "/") -> Response:
    """The form; somebody who is signed in goes on to where they wanted. As JSON: who is signed in here."""
    with request.app.state.uow() as db:
        user = visitor(request, db)
        if wants_json(request):
            return _here(request, user, csrf_token(request))
        if user is not None:
            return see_other(request, local_path(next))
        return _sign_in(request, goal=local_path(next), owned=service.has_owner(db))


@router.post("/sign-in")
@public
def sign_in(request: Request, email: Text = "", password: Text = "", next: Text = "/") -> Response:
    """Check the password between two transactions, so that slow hashing holds no connection."""
    goal = local_path(next)
    with request.app.state.uow() as db:
        try:
            tried = service.begin_sign_in(db, email, client_address(request))
        except TooMany as error:
            if wants_json(request):
                raise
            return _sign_in(request, 429, goal=goal, email=email, error=str(error), wait=error.retry_after)
    if not passwords.matches(tried.password_hash, password[: passwords.MOST]):
        if wants_json(request):
            raise InvalidInput([Problem("password", gettext(MISMATCH))], gettext(MISMATCH))
        return _sign_in(request, 422, goal=goal, email=email, error=gettext(MISMATCH))
    response = see_other(request, goal)
    with request.app.state.uow() as db:
        user = service.finish_sign_in(db, tried, password)
        token = start_session(db, request, response, user)
    return _here(request, user, token, response) if wants_json(request) else response


@router.post("/sign-out")
@public
def sign_out(request: Request) -> Response:
    """End this session on the server and in the browser."""
    response = see_other(request, "/sign-in")
    with request.app.state.uow() as db:
        end_session(db, request, response)
    return say(request, response, gettext("You are signed out."))


@router.get("/welcome/{token}")
@public
def welcome_page(request: Request, token: str) -> Response:
    """Make the first account. Only the newest link of an installation without an owner opens this."""
    with request.app.state.uow() as db:
        service.invite_for(db, token, first=True)
        return _welcome(request, db)


@router.post("/welcome/{token}")
@public
def welcome(request: Request, token: str, form: Annotated[NewAccount, Form()]) -> Response:
    """Make the owner, sign them in, and lead to what they chose to start with."""
    try:
        name, email = service.check_account(form.name, form.email, form.password)
        hashed = passwords.hash_password(form.password)
        with request.app.state.uow() as db:
            user = service.make_account(db, name, email, hashed)
            service.accept(db, service.invite_for(db, token, first=True), user)
            demo = service.first_project(db) if form.start == "demo" else None
            begin = f"/projects/{demo.slug}/label" if demo else f"/projects/new?start={quote(form.start)}"
            response = see_other(request, begin)
            start_session(db, request, response, user)
            return response
    except InvalidInput as error:
        with request.app.state.uow() as db:
            return _welcome(request, db, 422, errors=messages(error), form=form)


@router.get("/invite/{token}")
@public
def invite_page(request: Request, token: str) -> Response:
    """Join a project: with a new account, or with one's own when signed in."""
    with request.app.state.uow() as db:
        invite = service.invite_for(db, token, first=False)
        visitor(request, db)
        return _invite(request, service.invited_to(db, invite).name, invite.role, token)


@router.post("/invite/{token}")
@public
def take_invite(request: Request, token: str, form: Annotated[NewAccount, Form()]) -> Response:
    """Make an account that joins the project, and sign it in."""
    with request.app.state.uow() as db:
        invite = service.invite_for(db, token, first=False)
        project = service.invited_to(db, invite)
    try:
        name, email = service.check_account(form.name, form.email, form.password)
        hashed = passwords.hash_password(form.password)
        with request.app.state.uow() as db:
            user = service.make_account(db, name, email, hashed)
            service.accept(db, service.invite_for(db, token, first=False), user)
            response = see_other(request, f"/projects/{project.slug}")
            start_session(db, request, response, user)
            return response
    except InvalidInput as error:
        return _invite(request, project.name, invite.role, token, status=422, errors=messages(error), form=form)


@router.post("/invite/{token}/join")
def join(request: Request, token: str) -> Response:
    """Join the project with the account one is signed in with."""
    with request.app.state.uow() as db:
        user = current_user(request, db)
        invite = service.invite_for(db, token, first=False)
        project = service.invited_to(db, invite)
        service.accept(db, invite, user)
    return say(
        request,
        see_other(request, f"/projects/{project.slug}"),
        gettext("You joined %(project)s.", project=project.name),
    )


def _here(request: Request, user: User | None, token: str, signed: Response | None = None) -> Response:
    """Who is signed in, and the CSRF token that goes with it; `signed` carries the cookies of a fresh session."""
    told = {"owner": user.id if user else None, "name": user.name if user else None, "csrf_token": token}
    response = JSONResponse(told)
    if signed is not None:
        response.raw_headers += [one for one in signed.raw_headers if one[0] == b"set-cookie"]
    give_visitor_cookie(request, response)
    return response


def _sign_in(request: Request, status: int = 200, *, goal: str, wait: int = 0, **context: Any) -> Response:
    response = render(request, "accounts/sign_in.html", status=status, next=goal, **{"owned": True, **context})
    if wait:
        response.headers["Retry-After"] = str(wait)
    return response


def _welcome(request: Request, db: Session, status: int = 200, **context: Any) -> Response:
    return render(
        request,
        "accounts/welcome.html",
        status=status,
        machine=machine(db, request.app.state.settings),
        demo=service.first_project(db),
        least=passwords.LEAST,
        **{"errors": {}, "form": NewAccount(), **context},
    )


def _invite(request: Request, project: str, role: str, token: str, *, status: int = 200, **context: Any) -> Response:
    return render(
        request,
        "accounts/invite.html",
        status=status,
        invited_to=project,
        invited_as=role,
        token=token,
        least=passwords.LEAST,
        **{"errors": {}, "form": NewAccount(), **context},
    )
