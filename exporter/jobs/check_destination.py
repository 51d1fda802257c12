"""Checks the destination of a run: rights, room, who holds it, and whether what lies there fits what is asked for."""

from typing import Final

from exporter.errors import DestinationLockedError, ExporterError, InterruptedExportError
from exporter.jobs.check_result import Findings
from exporter.lake.follow import settle_table_format
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.pipeline.free_space import check_free_space
from exporter.run.encryption import find_cipher
from exporter.run.finish import check_whole
from exporter.run.prepared import Prepared
from exporter.run.protection import check_settled, settle_policy
from exporter.run.reconcile import check_file_mode, in_stored_zone, settle_request
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store
from exporter.words import count_of, format_size

#: The exit status of a run that ends with a doubt.
_IN_DOUBT: Final = 3
#: What a trial of a step shows.
_SHOWS: Final = {
    "write": "files can be written and read",
    "create": "a file is created only where none is, which keeps two runs apart",
    "list": "what is written is listed",
    "delete": "files can be deleted; nothing stays of this check",
}
_AT_THE_STORE: Final = ("lock", *_SHOWS, "space", "export", "request", "files", "policy", "encryption", "tables")


async def check_destination(findings: Findings, destination: Location, prepared: Prepared) -> tuple[State, Request]:
    """Checks all that is at the destination, and returns the state and the request to read by: those of a new export,
    as far as these cannot be known."""
    stores = list[State]()
    try:
        async with open_store(destination) as store:
            with findings.about("destination") as told:
                check_file_mode(prepared.asked, destination)
                await store.check()
                told.what = f"{destination}: takes an export"
            if findings.is_wrong("destination"):
                findings.not_tried(_AT_THE_STORE, "destination")
            else:
                await _check_store(findings, store, prepared, stores)
    except InterruptedExportError:
        raise  # nothing more is to be found
    except ExporterError as error:
        findings.add("destination", "wrong", str(error), error.exit_status)
        findings.not_tried(_AT_THE_STORE, "destination")
    state = stores[0] if stores else State()
    try:
        return state, settle_request(state, in_stored_zone(state, prepared.asked), destination)
    except ExporterError:
        # It has been told of; the API can be asked all the same.
        return State(), settle_request(State(), in_stored_zone(State(), prepared.asked), destination)


async def _check_store(findings: Findings, store: Store, prepared: Prepared, stores: list[State]) -> None:
    with findings.about("lock") as told:
        if (holder := await store.lock_holder()) is not None:
            raise DestinationLockedError(
                f"{store.location}: held by {holder}. Wait until it ends, or stop it, then run again"
            )
        told.what = "no other run is at work there"
    for trial in await store.try_out():
        if not trial.is_tried:
            findings.not_tried([trial.step], "write")
            continue
        with findings.about(trial.step) as told:
            if trial.error is not None:
                raise trial.error
            told.what = _SHOWS[trial.step]
    with findings.about("space") as told:
        await check_free_space(store)
        told.what = f"{format_size(await store.free_bytes())} free on the disk of {store.staged_on}"
    with findings.about("export") as told:
        state = await load_state(store)
        stores.append(state)
        check_settled(state, "export", store.location)
        told.what = _described(state)
        if state.request is not None and (state.doubts.times or state.quarantined_rows) and not state.is_accepted:
            word = shell_word(store.location)
            told.is_wrong(
                f"{_described(state)}, and doubts that nobody has accepted. exporter status {word} names them, "
                f"exporter accept {word} accepts them",
                _IN_DOUBT,
            )
    if not stores:
        findings.not_tried(_AT_THE_STORE[_AT_THE_STORE.index("request") :], "export")
        return
    await _check_fit(findings, store, prepared, stores[0])


async def _check_fit(findings: Findings, store: Store, prepared: Prepared, state: State) -> None:
    """Checks whether what is asked for agrees with what is stored."""
    where, asked = store.location, prepared.asked
    with findings.about("request") as told:
        asked = in_stored_zone(state, asked)
        settle_request(state, asked, where)
        told.what = "what is asked for agrees with what is stored" if state.request else "a new export would begin"
    with findings.about("files") as told:
        await check_whole(store, state)
        told.what = f"all {count_of(len(state.live), 'file')} are there, with their sizes" if state.live else "none yet"
    _check_privacy(findings, prepared, state, asked, where)
    with findings.about("tables") as told:
        kind = settle_table_format(state, asked, where)
        told.what = "Parquet alone" if kind is None else f"{kind.kind.capitalize()} tables can be written"


def _check_privacy(findings: Findings, prepared: Prepared, state: State, asked: Selection, where: Location) -> None:
    if (error := prepared.policy_error) is not None:
        findings.add("policy", "wrong", str(error), error.exit_status)
        findings.not_tried(["encryption"], "policy")
        return
    with findings.about("policy") as told:
        policy = settle_policy(state, asked, where, prepared.keys)
        told.what = "no policy: everything is stored as it is served"
        if policy is not None:
            told.what = "the policy can be kept" + (", and its key is here" if policy.needs_key else "")
    with findings.about("encryption") as told:
        cipher = find_cipher(prepared.keys, where, asked)(state)
        told.what = "none" if cipher is None else f"the key {cipher.encryption.key.name} is here"


def _described(state: State) -> str:
    if state.request is None:
        return "none yet"
    return f"{count_of(state.totals.rows, 'conversation')}, at generation {state.number:,}"
