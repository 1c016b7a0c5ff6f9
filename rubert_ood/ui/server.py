"""The server of the page: a few routes that return HTML, each a page or a part of one.

Requests are JSON, or the bytes of a file, and so no other site can send them unasked. What a user
does wrong is one line with status 422; of anything else only kind and place are logged, since a
message may quote an ad.
"""

import traceback
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rubert_ood import __version__
from rubert_ood.errors import RubertOodError
from rubert_ood.progress import StepLog
from rubert_ood.ui import advice
from rubert_ood.ui.batch import ScoredRow, as_csv
from rubert_ood.ui.flips import Choice, Numbers, bundle_choice, ranges
from rubert_ood.ui.pages import render, static_file
from rubert_ood.ui.runs_search import Wanted
from rubert_ood.ui.samples import samples
from rubert_ood.ui.security import Access, Guard
from rubert_ood.ui.state import State
from rubert_ood.ui.uploads import MAX_ADS, MAX_BYTES, read_upload

log = StepLog("ui")

Answer = Callable[[State, Request, bytes], Response]


class GivenText(BaseModel):
    """What stands in the text field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    each_line: bool = False
    """Each line is an ad of its own."""


class Tried(BaseModel):
    """Thresholds that are tried on an ad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: Numbers
    choice: Choice = Field(default_factory=Choice)


def make_app(state: State, access: Access) -> Guard:
    """Return the application; every request passes the guard first."""
    routes = [
        Route("/", _answering(state, _page)),
        Route("/static/{name}", _static),
        Route("/texts", _answering(state, _texts), methods=["POST"]),
        Route("/decide", _answering(state, _decide), methods=["POST"]),
        Route("/file", _answering(state, _file), methods=["POST"]),
        Route("/run", _answering(state, _run), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), access)


def _answering(state: State, answer: Answer) -> Callable[[Request], object]:
    """Return an endpoint that works in a thread, and turns errors into one line."""

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            return await run_in_threadpool(answer, state, request, body)
        except RubertOodError as error:
            return PlainTextResponse(str(error), 422)
        except ValidationError as error:
            return PlainTextResponse(_first(error), 422)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("internal error: %s at %s:%s", kind, place.filename, place.lineno)
            return PlainTextResponse("internal error; the log says where", 500)

    return endpoint


def _first(error: ValidationError) -> str:
    """Say what is wrong with a request, without its values."""
    problem = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, problem["loc"])) or "request"
    return f"{place}: {problem['msg']}"


async def _static(request: Request) -> Response:
    found = static_file(request.path_params["name"])
    if found is None:
        return PlainTextResponse("no such file", 404)
    content, media_type = found
    return Response(content, media_type=media_type)


def _page(state: State, request: Request, body: bytes) -> Response:
    bundle = state.model.bundle
    return HTMLResponse(
        render(
            "page",
            version=__version__,
            bundle=bundle,
            num_classes=len(state.model.labels),
            samples=samples(bundle),
            run=state.run,
            max_ads=MAX_ADS,
            max_mb=MAX_BYTES / 1e6,
        )
    )


def _texts(state: State, request: Request, body: bytes) -> Response:
    """Explain the ad in the text field, or list the ads in its lines."""
    given = GivenText.model_validate_json(body)
    if given.each_line:
        data = given.text.encode("utf-8", "replace")
        return _rows(state.scored(read_upload(data, "", each_line=True)), has_texts=True)
    explanation = state.explained(given.text)
    numbers = explanation.numbers
    return HTMLResponse(
        render(
            "ad",
            e=explanation,
            nearest=state.nearest,
            bundle=state.model.bundle,
            **(_decision(state, numbers, Choice()) if numbers else {}),
        )
    )


def _decide(state: State, request: Request, body: bytes) -> Response:
    tried = Tried.model_validate_json(body)
    shown = _decision(state, tried.numbers, tried.choice)
    return HTMLResponse(render("decision", bundle=state.model.bundle, **shown))


def _decision(state: State, numbers: Numbers, choice: Choice) -> dict[str, object]:
    fitted = state.model.bundle.fitted
    rule = choice.rule or fitted.decision.rule
    return {
        "d": state.decided(numbers, choice),
        "in_bundle": bundle_choice(fitted).model_dump(),
        "ranges": ranges(fitted, rule),
        "flags": advice.flags(choice),
        "yaml": advice.as_yaml(choice),
    }


def _file(state: State, request: Request, body: bytes) -> Response:
    name = request.query_params.get("name", "")
    return _rows(state.scored(read_upload(body, name)), has_texts=False)


def _rows(rows: list[ScoredRow], *, has_texts: bool) -> Response:
    html = render("rows", rows=rows, has_texts=has_texts)
    return JSONResponse({"html": html, "csv": as_csv(rows)})


def _run(state: State, request: Request, body: bytes) -> Response:
    """Look an ad up, or list some ads of the run."""
    if state.run is None:
        return PlainTextResponse("the page was started without --run_uri", 422)
    wanted = Wanted.model_validate_json(body)
    if not wanted.ad_id:
        return HTMLResponse(render("run_page", page=state.run.page(wanted)))
    return HTMLResponse(
        render(
            "run_ad",
            ad_id=wanted.ad_id,
            row=state.run.find(wanted.ad_id),
            history=state.run.history(wanted.ad_id),
        )
    )
