"""Pages of prompts, imports and exports."""

import io
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.datastructures import FormData, UploadFile

from app.core.errors import InvalidInput
from app.core.records import SPLITS, record
from app.core.sensitive import MOST_AT_ONCE, mark
from app.core.told import Stored
from app.core.words import gettext, ngettext, number
from app.data import exports, service
from app.data.counts import waterfall
from app.data.forms import options_of
from app.data.incoming import ROWS, Rows
from app.web.dependencies import ADMINS, READERS, member
from app.web.errors import messages
from app.web.flash import say
from app.web.htmx import see_other
from app.web.templating import render

router = APIRouter(prefix="/projects/{slug}")
MOST_UPLOAD = 21_000_000
"""Bytes of a request with a file; PALATE_UPLOAD_LIMIT is checked inside it."""


@router.get("/prompts")
def prompts(request: Request, slug: str, split: str = "", q: str = "", before: int | None = None) -> Response:
    """Browse the prompts."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *READERS).project
        split = split if split in SPLITS else ""
        page = service.prompts_of(db, project.id, split=split, words=q.strip(), before=before)
        counts = service.prompt_counts(db, project.id)
        return render(request, "data/prompts.html", page=page, counts=counts, split=split, words=q, before=before)


@router.post("/prompts/sensitive")
def mark_sensitive(request: Request, slug: str) -> Response:
    """Mark the ticked prompts sensitive, or take the mark away."""
    form: FormData = request.state.form
    chosen = [int(one) for one in map(str, form.getlist("prompt")) if one.isascii() and one.isdigit() and len(one) < 19]
    sensitive = form.get("sensitive") == "yes"
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        count = mark(db, access.project, chosen[:MOST_AT_ONCE], access.user, sensitive=sensitive)
    back = urlencode({name: value for name in ("split", "q", "before") if (value := str(form.get(name) or ""))})
    if not chosen:
        words = gettext("Tick the prompts first.")
    elif sensitive:
        words = ngettext("%(n)s prompt is marked sensitive now.", "%(n)s prompts are marked sensitive now.", count)
    else:
        words = ngettext("%(n)s prompt is not sensitive now.", "%(n)s prompts are not sensitive now.", count)
    return say(request, see_other(request, f"/projects/{slug}/prompts{'?' if back else ''}{back}"), words, "info")


@router.get("/prompts/import")
def new_import(request: Request, slug: str) -> Response:
    """Choose a file or paste rows."""
    with request.app.state.uow() as db:
        member(db, request, slug, *ADMINS)
        return render(request, "data/import.html", errors={}, pasted="", kind=ROWS[0])


@router.post("/prompts/import", max_body_size=MOST_UPLOAD)
def check_import(request: Request, slug: str) -> Response:
    """Look at every row of what was sent. Nothing of it becomes a prompt."""
    form: FormData = request.state.form
    upload, pasted = form.get("file"), str(form.get("rows") or "")
    chosen = isinstance(upload, UploadFile) and bool(upload.filename)
    file = upload.file if isinstance(upload, UploadFile) and chosen else io.BytesIO(pasted.encode("utf-8", "replace"))
    name = str(upload.filename) if isinstance(upload, UploadFile) and chosen else Stored.PASTED.of()
    kind: Rows = "comparisons" if form.get("kind") == "comparisons" else "prompts"
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        settings = request.app.state.settings
        try:
            row = service.start_import(db, settings, access.project, file, name=name, kind=kind, user_id=access.user.id)
        except InvalidInput as error:
            shown = {"errors": messages(error), "pasted": pasted, "kind": kind}
            return render(request, "data/import.html", status=422, **shown)
        return see_other(request, f"/projects/{slug}/prompts/import/{row.id}")


@router.get("/prompts/import/{number}")
def checked_import(request: Request, slug: str, number: int) -> Response:
    """What a file holds, and the decision about it."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        row = service.import_of(db, access.project.id, number)
        if row.state != "checked":
            return render(request, "data/import_decided.html", row=row)
        report = service.look_again(db, request.app.state.settings, row)
        text = service.kept_text(request.app.state.settings, row) if report.problems else ""
        return render(request, "data/import_checked.html", row=row, report=report, text=text)


@router.get("/prompts/import/{number}/problems")
def import_problems(request: Request, slug: str, number: int) -> Response:
    """All problems of a file as JSONL."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        row = service.import_of(db, access.project.id, number)
        report = service.look_again(db, request.app.state.settings, row)
    headers = {"Content-Disposition": f'attachment; filename="problems-{number}.jsonl"'}
    return Response(service.problem_lines(report), media_type="application/jsonl", headers=headers)


@router.post("/prompts/import/{number}")
def decide_import(request: Request, slug: str, number: int) -> Response:
    """Import the good rows, or forget the file."""
    decision = str(request.state.form.get("decision") or "")
    settings = request.app.state.settings
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        row = service.import_of(db, access.project.id, number)
        if decision == "discard":
            service.discard_import(db, row)
            words = gettext("The file is gone. Nothing was stored.")
        else:
            leave_out = decision == "leave_out"
            counts = service.finish_import(
                db, settings, access.project, row, leave_out_bad=leave_out, user_id=access.user.id
            )
            words = _added(service.kind_of(row), counts["added"])
    service.drop_file(settings, row)
    return say(request, see_other(request, f"/projects/{slug}/prompts"), words)


def _added(kind: Rows, count: int) -> str:
    shown = number(count)
    if kind == "comparisons":
        return ngettext("One comparison was added.", "%(n)s comparisons were added.", count, n=shown)
    return ngettext("One prompt was added.", "%(n)s prompts were added.", count, n=shown)


@router.get("/exports")
def all_exports(request: Request, slug: str) -> Response:
    """Choose what leaves and in which shape; earlier exports below."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        options = options_of(request.query_params)
        rows = exports.preview(db, request.app.state.settings, project, options)
        falls = waterfall(db, project.id, options)
        earlier = exports.exports_of(db, project.id)
        return render(request, "data/exports.html", options=options, falls=falls, rows=rows, earlier=earlier)


@router.get("/exports/_preview")
def preview(request: Request, slug: str) -> Response:
    """Counts and first rows of the choices as they stand."""
    with request.app.state.uow() as db:
        project = member(db, request, slug, *ADMINS).project
        options = options_of(request.query_params)
        rows = exports.preview(db, request.app.state.settings, project, options)
        falls = waterfall(db, project.id, options)
        return render(request, "data/_preview.html", options=options, falls=falls, rows=rows)


@router.post("/exports")
def create(request: Request, slug: str) -> Response:
    """Write the files."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        options = options_of({k: v for k, v in request.state.form.items() if isinstance(v, str)})
        settings = request.app.state.settings
        export = exports.create_export(db, settings, access.project, options, user_id=access.user.id)
    return say(request, see_other(request, f"/projects/{slug}/exports/{export.id}"), gettext("The files are written."))


@router.get("/exports/{number}")
def one_export(request: Request, slug: str, number: int) -> Response:
    """Files, hashes, choices and the line that loads them."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        export = exports.export_of(db, access.project.id, number)
        line = exports.loading_line(export)
        digest = exports.snapshot_hash(db, export)
        return render(request, "data/export.html", export=export, line=line, digest=digest)


@router.get("/exports/{number}/{name}")
def download(request: Request, slug: str, number: int, name: str) -> Response:
    """One file of an export, as an attachment; who took it is written down."""
    with request.app.state.uow() as db:
        access = member(db, request, slug, *ADMINS)
        export = exports.export_of(db, access.project.id, number)
        path = exports.file_of(request.app.state.settings, export, name)
        record(
            db,
            "downloaded export",
            f"exports:{export.id}",
            user_id=access.user.id,
            project_id=access.project.id,
            file=name,
        )
    return FileResponse(path, media_type="application/octet-stream", filename=f"{slug}-{number}-{name}")
