/**
 * Finds conversations: the filters, the list of results, and what is said about them.
 */

import { ask } from "./api.js";
import { isolated, make, prose, the, unseen } from "./dom.js";
import { clock, counted, moment, words } from "./format.js";
import { FILTERS, writeRoute } from "./route.js";

const PAGE_ROWS = 50;

export class Search {
  /**
   * @param {any} about what the server says about the export
   * @param {(fragment: string) => void} go
   * @param {(place: HTMLElement, error: unknown, again: () => void) => void} showProblem
   */
  constructor(about, go, showProblem) {
    this.about = about;
    this.zone = about.timezone || "UTC";
    this.showProblem = showProblem;
    /** @type {Record<string, string> | null} */
    this.filters = null;
    /** @type {string | null} */
    this.cursor = null;
    this.shown = 0;
    /** @type {AbortController | null} */
    this.work = null;
    /** @type {HTMLFormElement} */
    this.form = the("filters");
    this.list = the("results");
    const submit = () => {
      // Whoever asks for the same again wants what is new, or has just seen a failure.
      this.filters = null;
      go(writeRoute({ filters: this.typed() }));
    };
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    for (const select of this.form.querySelectorAll("select")) select.addEventListener("change", submit);
    this.clear = () => {
      go("#");
      this.field("text").focus();
    };
    the("clear").addEventListener("click", this.clear);
    the("more").addEventListener("click", () => this.more());
    the("zone").textContent = `Times are in ${this.zone}. Filters take dates, times, and ages such as 7d or 36h.`;
    if (about.can_search_text === false) {
      this.field("text").disabled = true;
      this.field("text").placeholder = "This export has no transcripts";
    }
    this.offerChoices();
  }

  /** @param {string} name */
  field(name) {
    return /** @type {any} */ (this.form.elements.namedItem(name));
  }

  typed() {
    return Object.fromEntries(FILTERS.map((name) => [name, this.field(name).value.trim()]).filter(([, value]) => value));
  }

  /** Fills the lists of agents, channels and statuses; without them, a filter of the address still works. */
  async offerChoices() {
    try {
      const facets = await ask("facets");
      this.form.querySelectorAll("select").forEach((select) => (select.title = facets.note ?? ""));
      this.offer("agent_id", facets.agents ?? [], (/** @type {any} */ agent) => [agent.id, agent.name || agent.id]);
      this.offer("agent_version_id", facets.versions ?? [], (/** @type {any} */ version) => [valueOf(version), valueOf(version)]);
      this.offer("channel", facets.channels ?? [], (/** @type {any} */ channel) => [valueOf(channel), valueOf(channel)]);
      this.offer("status", facets.statuses ?? [], (/** @type {any} */ status) => [valueOf(status), words(valueOf(status))]);
    } catch (error) {
      this.showProblem(the("search-problem"), error, () => this.offerChoices());
    }
  }

  /**
   * @param {string} name
   * @param {any[]} choices
   * @param {(choice: any) => [string, string]} textsOf
   */
  offer(name, choices, textsOf) {
    const select = this.field(name);
    const chosen = select.value;
    const options = choices.map((choice) => {
      const [value, text] = textsOf(choice);
      const count = choice.count === undefined ? "" : ` (${choice.count.toLocaleString("en")})`;
      return make("option", { value }, text + count);
    });
    select.replaceChildren(make("option", { value: "" }, "any"), ...options);
    this.choose(name, chosen);
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  choose(name, value) {
    const field = this.field(name);
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
      field.append(make("option", { value }, value));
    }
    field.value = value;
  }

  /**
   * Shows the results for these filters; they are not asked for again where they are shown.
   *
   * @param {Record<string, string>} filters
   */
  async show(filters) {
    for (const name of FILTERS) this.choose(name, filters[name] ?? "");
    if (this.filters && writeRoute({ filters }) === writeRoute({ filters: this.filters })) return;
    this.work?.abort();
    this.work = new AbortController();
    this.filters = filters;
    this.cursor = null;
    this.shown = 0;
    this.list.replaceChildren();
    await this.read();
  }

  async more() {
    const before = this.list.lastElementChild;
    await this.read();
    (before?.nextElementSibling ?? this.list.firstElementChild)?.querySelector("a")?.focus();
  }

  async read() {
    const signal = this.work?.signal;
    the("search-problem").replaceChildren();
    the("found").textContent = "Searching …";
    the("more").disabled = true;
    this.list.setAttribute("aria-busy", "true");
    try {
      const query = { ...this.filters, cursor: this.cursor, limit: PAGE_ROWS };
      const answer = await ask("conversations", query, signal);
      if (signal?.aborted) return;
      this.list.append(...answer.rows.map((/** @type {any} */ row) => this.row(row)));
      this.shown += answer.rows.length;
      this.cursor = answer.cursor;
      this.tell(answer.note);
    } catch (error) {
      if (signal?.aborted) return;
      the("found").textContent = "";
      this.showProblem(the("search-problem"), error, () => this.read());
    } finally {
      if (!signal?.aborted) {
        the("more").disabled = false;
        this.list.removeAttribute("aria-busy");
      }
    }
  }

  /** @param {string | null} note why the server has stopped before it had a page of results */
  tell(note) {
    the("more").hidden = this.cursor === null;
    the("more").textContent = note ? "Search on" : "Show more";
    const count = counted(this.shown, "conversation");
    the("found").replaceChildren(...prose(this.summary(count, note)));
    document.title = `${count} – exporter view`;
  }

  /**
   * @param {string} count
   * @param {string | null} note
   */
  summary(count, note) {
    const isFiltered = Object.keys(this.filters ?? {}).length > 0;
    if (note) return `${count} so far. ${note}.`;
    if (this.cursor !== null) return `${count} shown, and there are more.`;
    if (this.shown) return isFiltered ? `${count} found.` : `${count}: all.`;
    if (isFiltered) return "Nothing matches. Take a wider range of time, fewer filters, or Clear.";
    return "This export holds no conversation yet. Run `exporter export` or `exporter sync`.";
  }

  /** @param {any} row */
  row(row) {
    const agent = row.agent_name || row.agent_id;
    return make(
      "li",
      {},
      make(
        "a",
        { class: "row", href: writeRoute({ filters: this.filters ?? {}, id: row.id }), "data-id": row.id },
        make("time", { datetime: row.created_at }, moment(row.created_at, this.zone)),
        cell("agent", "Agent", agent),
        cell("channel", "Channel", row.channel),
        cell("status", "Status", row.status && words(row.status)),
        cell("length", "Duration", typeof row.duration_seconds === "number" ? clock(row.duration_seconds) : null),
        cell("count", "User turns", typeof row.turns === "number" ? counted(row.turns, "turn") : null),
        cell("user", "User", row.user),
        make("span", { class: "audio" }, row.has_recording === true && "♪", row.has_recording === true && unseen("with a recording")),
        row.snippet && make("span", { class: "snippet", dir: "auto" }, ...marked(row.snippet, this.filters?.text ?? "")),
      ),
    );
  }

  /**
   * Puts the focus on a conversation of the list, or on the first field.
   *
   * @param {string | null} id
   */
  focusRow(id) {
    const link = id && [...this.list.querySelectorAll("a")].find((each) => each.dataset.id === id);
    (link || this.field("text")).focus({ preventScroll: true });
  }
}

/**
 * @param {string} kind
 * @param {string} label
 * @param {string | null | undefined} text
 */
const cell = (kind, label, text) =>
  make("span", { class: kind }, text ? unseen(`${label}: `) : "", text ? isolated(text) : "", text ? unseen(",") : "");

/**
 * Returns a text in which what was looked for stands out.
 *
 * @param {string} text
 * @param {string} wanted
 */
function marked(text, wanted) {
  const at = text.toLowerCase().indexOf(wanted.toLowerCase());
  if (at < 0 || !wanted) return [text];
  const end = at + wanted.length;
  return [text.slice(0, at), make("mark", {}, text.slice(at, end)), text.slice(end)];
}

/** @param {any} choice a text, or one with its count */
const valueOf = (choice) => (typeof choice === "string" ? choice : (choice.value ?? choice.id ?? choice.name ?? ""));
