"""Writes a report as one HTML page that needs nothing else: no network, no script, no file beside it."""

import base64
from hashlib import sha256
from importlib.resources import files
from typing import Final

from exporter.report import answers, texts
from exporter.report.answers import Answer
from exporter.report.blocks import listed, section, version_name
from exporter.report.files_section import draw_files, draw_recordings
from exporter.report.markup import Markup, element, joined
from exporter.report.model import Report
from exporter.report.trust_section import draw_trust
from exporter.report.turns_section import draw_turns
from exporter.report.volume_section import draw_volume

#: What every page begins with, by which it is known again.
FIRST: Final = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="exporter report">'
)
_SECTIONS: Final = (
    ("trust", "Can it be trusted?"),
    ("volume", "How much, and when"),
    ("turns", "How well the agents answer"),
    ("recordings", "Recordings"),
    ("files", "Files"),
)
_SIGNS: Final = {"good": "✔ ", "doubt": "? ", "bad": "✘ ", "plain": ""}


def draw_page(report: Report) -> bytes:
    """Returns the page, in UTF-8. The same report gives the same bytes.

    The package that draws must be installed.
    """
    style = files("exporter.report").joinpath("page.css").read_text(encoding="utf-8")
    title = f"Export report: {report.destination}"
    drawn = {
        "trust": (draw_trust(report),),
        "volume": draw_volume(report),
        "turns": draw_turns(report),
        "recordings": draw_recordings(report),
        "files": draw_files(report),
    }
    head = joined(
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        _header(report),
        element("main", _answers(report), *(section(name, heading, *drawn[name]) for name, heading in _SECTIONS)),
        _footer(report),
    )
    return f"{FIRST}{head}</head>{body}</html>\n".encode()


def _policy(style: str) -> str:
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _header(report: Report) -> Markup:
    of = [] if report.trust.organization is None else [f"organization {texts.isolated(report.trust.organization, '')}"]
    about = " · ".join([*of, f"generation {report.generation:,}", f"times in {report.timezone}"])
    start = "the first" if report.since is None else texts.instant(report.since)
    narrowed = f"The counts and charts are about conversations from {start} to {texts.instant(report.until)} alone."
    links = [element("li", element("a", heading, href=f"#{name}")) for name, heading in _SECTIONS]
    return element(
        "header",
        element("h1", "Export report: ", element("bdi", report.destination)),
        element("p", about, class_="about"),
        element("p", narrowed) if report.is_narrowed else None,
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _answers(report: Report) -> Markup:
    day, of_day = answers.yesterday(report)
    version, of_version = answers.slowest_version(report)
    return element(
        "div",
        _card("Is anything missing?", answers.is_it_complete(report), "wide"),
        _card(f"Yesterday: {texts.long_day(day)}", of_day),
        _card("The slowest agent version", of_version, subject=None if version is None else version_name(version)),
        class_="answers",
    )


def _card(question: str, answer: Answer, kind: str = "", subject: Markup | None = None) -> Markup:
    commands = [
        element("p", f"{purpose}, where DEST is this export: ", element("code", command))
        for purpose, command in answer.commands
    ]
    return element(
        "div",
        element("h2", question),
        element("p", subject, ": " if subject else None, _SIGNS[answer.tone], answer.answer, class_="first"),
        *(element("p", line) for line in answer.lines),
        *commands,
        class_=f"answer {answer.tone} {kind}".rstrip(),
    )


def _footer(report: Report) -> Markup:
    return element(
        "footer",
        listed(report.notes),
        element(
            "p",
            f"Made by {report.software} from generation {report.generation:,} of the export alone. The page "
            "has counts, ids of agents, and names of tools and columns, and nothing that anybody said. All days and "
            f"times are those of {report.timezone}.",
        ),
    )
