/**
 * Starts the page: asks what the export is, and shows what the fragment of the address says.
 */

import { ask, askAbout, Problem } from "./api.js";
import { makeHead, transcriptProtection } from "./conversation.js";
import { isolated, make, prose, the } from "./dom.js";
import { counted, moment } from "./format.js";
import { listen } from "./keys.js";
import { Player } from "./player.js";
import { readRoute, writeRoute } from "./route.js";
import { Search } from "./search.js";
import { Transcript } from "./transcript.js";

const CHANGED = 409;
/** An item is part of the address once the focus has rested on it for so long. */
const REST_MILLISECONDS = 250;

/**
 * Shows what went wrong, and what can be done.
 *
 * @param {HTMLElement} place
 * @param {unknown} error
 * @param {() => void} again
 */
function showProblem(place, error, again) {
  const isChanged = error instanceof Problem && error.status === CHANGED;
  const act = isChanged ? () => location.reload() : () => {
    place.replaceChildren();
    again();
  };
  const button = make("button", { type: "button", onclick: act }, isChanged ? "Load the page again" : "Try again");
  const message = error instanceof Error ? error.message : String(error);
  place.replaceChildren(make("div", { class: "error", role: "alert" }, make("p", {}, ...prose(message)), button));
}

class App {
  /** @param {any} about */
  constructor(about) {
    this.about = about;
    this.search = new Search(about, (fragment) => this.go(fragment), showProblem);
    const problem = (/** @type {unknown} */ error, /** @type {() => void} */ again) =>
      showProblem(the("conversation-problem"), error, again);
    this.transcript = new Transcript(problem);
    this.player = new Player(this.transcript);
    /** @type {string | null} */
    this.id = null;
    this.listScroll = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.remembered = undefined;
    history.scrollRestoration = "manual";
    window.addEventListener("popstate", () => this.show());
    document.addEventListener("click", (event) => this.click(event));
    the("turns").addEventListener("focusin", (/** @type {FocusEvent} */ event) => this.remember(event));
    listen({
      isReading: () => this.id !== null,
      back: () => this.back(),
      search: () => this.goSearch(),
      firstResult: () => this.search.list.querySelector("a")?.focus(),
      step: (step) => this.step(step),
      play: (element) => this.play(element),
      toggle: () => this.player.toggle(),
      skip: (seconds) => this.player.skip(seconds),
    });
  }

  /**
   * @param {string} fragment
   * @param {unknown} state
   */
  go(fragment, state = null) {
    if (fragment !== (location.hash || "#")) history.pushState(state, "", fragment);
    this.show();
  }

  back() {
    if (history.state?.fromList) history.back();
    else this.go(writeRoute({ filters: readRoute(location.hash).filters }));
  }

  goSearch() {
    if (this.id === null) this.search.field("text").focus();
    else {
      this.goToSearch = true;
      this.back();
    }
  }

  show() {
    clearTimeout(this.remembered);
    const { filters, id, item } = readRoute(location.hash);
    if (id === null) this.showList(filters);
    else if (id !== this.id) this.showConversation(id, item, filters);
    else if (item !== null) this.transcript.reveal(item);
  }

  /** @param {Record<string, string>} filters */
  showList(filters) {
    const left = this.id;
    this.id = null;
    this.work?.abort();
    this.transcript.close();
    this.player.close();
    the("conversation-view").hidden = true;
    the("search-view").hidden = false;
    document.title = "exporter view";
    const isNew = JSON.stringify(filters) !== JSON.stringify(this.search.filters);
    this.search.show(filters);
    if (left === null) return;
    window.scrollTo({ top: isNew ? 0 : this.listScroll, behavior: "instant" });
    this.search.focusRow(this.goToSearch ? null : left);
    this.goToSearch = false;
  }

  /**
   * @param {string} id
   * @param {number | null} item
   * @param {Record<string, string>} filters
   */
  async showConversation(id, item, filters) {
    if (this.id === null) this.listScroll = window.scrollY;
    this.id = id;
    this.work?.abort();
    this.work = new AbortController();
    const { signal } = this.work;
    this.player.close();
    this.transcript.close();
    the("head").replaceChildren();
    the("conversation-problem").replaceChildren();
    the("back").setAttribute("href", writeRoute({ filters }));
    the("search-view").hidden = true;
    the("conversation-view").hidden = false;
    the("conversation-title").textContent = "Conversation";
    window.scrollTo({ top: 0, behavior: "instant" });
    the("conversation-title").focus({ preventScroll: true });
    try {
      const answer = await ask("conversation", { id }, signal);
      if (signal.aborted) return;
      this.showHead(answer);
      await this.transcript.open(id, item ?? 0, this.player.isOpen);
      if (item !== null && !signal.aborted) await this.transcript.reveal(item);
    } catch (error) {
      if (signal.aborted) return;
      showProblem(the("conversation-problem"), error, () => this.showConversation(id, item, filters));
    }
  }

  /** @param {any} answer */
  showHead(answer) {
    const { row, recording } = answer;
    const agent = row.agent?.name || row.agent_id || "Conversation";
    const time = moment(row.created_at, this.about.timezone || "UTC");
    the("conversation-title").replaceChildren(isolated(agent), ` ${time}`);
    document.title = `${agent} ${time} – exporter view`;
    the("head").replaceChildren(...makeHead(answer, this.about));
    const done = transcriptProtection(this.about);
    if (done) the("head").append(make("p", { class: "note" }, done));
    if (recording && !recording.missing && recording.is_playable !== false) this.player.open(row.id);
  }

  /** @param {MouseEvent} event */
  click(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const link = target.closest("a");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.defaultPrevented) {
      event.preventDefault();
      if (link.id === "skip") (this.id === null ? this.search.list.querySelector("a") : the("conversation-title"))?.focus();
      else if (link.id === "back") this.back();
      else this.go(link.getAttribute("href") ?? "#", { fromList: this.id === null });
      return;
    }
    const turn = /** @type {HTMLElement | null} */ (target.closest("li.turn"));
    if (!turn || (target.closest("button, summary, pre, details, input") && !target.closest("[data-seek]"))) return;
    if (getSelection()?.isCollapsed !== false) this.play(turn);
  }

  /**
   * Plays from an item on; the focus is then on the item, so that Space pauses.
   *
   * @param {HTMLElement} element
   */
  play(element) {
    element.focus({ preventScroll: true });
    const index = Number(element.dataset.index);
    const start = this.transcript.starts.find((each) => each.index === index);
    if (start) this.player.playFrom(start.seconds);
  }

  /** @param {1 | -1} step */
  async step(step) {
    if (this.id === null) {
      const links = [...this.search.list.querySelectorAll("a"), the("more")].filter((each) => !each.hidden);
      const at = links.indexOf(document.activeElement);
      if (step < 0 && at <= 0) this.search.field("text").focus();
      else links[Math.min(links.length - 1, at + step)]?.focus();
      return;
    }
    const held = document.activeElement?.closest("li.turn");
    const next = held ? (step > 0 ? held.nextElementSibling : held.previousElementSibling)
      : (this.player.current ?? this.transcript.list.firstElementChild);
    if (next) next.focus();
    else await this.transcript.extend(step);
  }

  /** @param {FocusEvent} event */
  remember(event) {
    const turn = /** @type {HTMLElement} */ (event.target).closest("li.turn");
    if (!(turn instanceof HTMLElement) || this.id === null) return;
    clearTimeout(this.remembered);
    const item = Number(turn.dataset.index);
    // Browsers refuse to write the address as often as a key that is held down repeats.
    this.remembered = setTimeout(() => {
      history.replaceState(history.state, "", writeRoute({ ...readRoute(location.hash), item }));
    }, REST_MILLISECONDS);
  }
}

/** @param {any} about */
function tell(about) {
  the("destination").textContent = about.name ?? about.destination;
  the("destination").title = about.destination;
  const zone = about.timezone || "UTC";
  const range = about.since || about.until ? `${moment(about.since, zone) || "the beginning"} to ${moment(about.until, zone)}` : "";
  const facts = [typeof about.rows === "number" && counted(about.rows, "conversation"), range, about.state];
  the("export-facts").textContent = facts.filter(Boolean).join(" · ");
  const notes = about.notes ?? [];
  the("notes").replaceChildren(...notes.map((/** @type {string} */ note) => make("p", {}, ...prose(note))));
  the("notes").hidden = !notes.length;
}

async function start() {
  try {
    const about = await ask("about");
    askAbout(about.generation);
    tell(about);
    new App(about).show();
  } catch (error) {
    the("results").removeAttribute("aria-busy");
    showProblem(the("search-problem"), error, start);
  }
}

start();
