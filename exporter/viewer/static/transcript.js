/**
 * Shows a transcript of any length: a few pages of it are in the document, and scrolling exchanges them.
 */

import { ask } from "./api.js";
import { prose, the } from "./dom.js";
import { counted, span } from "./format.js";
import { covers, startsOf } from "./timeline.js";
import { makeTurn } from "./turn.js";

export const PAGE_ITEMS = 100;
const MOST_PAGES = 4;
/** Pages are fetched when what is loaded ends this far beyond the window. */
const MARGIN_PIXELS = 800;

/** @typedef {{from: number, turns: import("./turn.js").Turn[], elements: HTMLElement[]}} Page */

export class Transcript {
  /** @param {(error: unknown, again: () => void) => void} onProblem */
  constructor(onProblem) {
    this.list = the("turns");
    this.onProblem = onProblem;
    /** @type {Page[]} */
    this.pages = [];
    /** @type {import("./timeline.js").Start[]} */
    this.starts = [];
    this.total = 0;
    this.id = "";
    this.canPlay = false;
    /** @type {AbortController | null} */
    this.work = null;
    /** @type {Promise<void> | null} */
    this.busy = null;
    /** @type {() => void} */
    this.onChange = () => {};
    the("earlier").addEventListener("click", () => this.extend(-1));
    the("later").addEventListener("click", () => this.extend(1));
    this.slowest = 0;
    the("slowest").addEventListener("click", () => this.reveal(this.slowest));
    the("jump").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const number = Number(/** @type {any} */ (event.target).elements.number.value);
      this.reveal(Math.min(Math.max(1, number), this.total) - 1);
    });
    this.watch = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) this.extend(target.id === "earlier" ? -1 : 1);
      }
    }, { rootMargin: `${MARGIN_PIXELS}px` });
  }

  /**
   * Shows the transcript of a conversation, from the page with this item on.
   *
   * @param {string} id
   * @param {number} item
   * @param {boolean} canPlay whether there is a recording
   */
  async open(id, item, canPlay) {
    this.close();
    this.id = id;
    this.canPlay = canPlay;
    the("transcript-state").textContent = "The transcript is being read …";
    await this.load({ from: pageOf(item) });
  }

  close() {
    this.work?.abort();
    this.work = new AbortController();
    this.busy = null;
    this.pages = [];
    this.starts = [];
    this.total = 0;
    this.list.replaceChildren();
    for (const id of ["earlier", "later", "jump", "slowest"]) the(id).hidden = true;
    the("turn-count").textContent = the("transcript-state").textContent = "";
  }

  get first() {
    return !this.pages.length || this.pages[0].from === 0;
  }

  get last() {
    return !this.pages.length || this.pages[this.pages.length - 1].from + PAGE_ITEMS >= this.total;
  }

  /** @param {number} index */
  element(index) {
    for (const page of this.pages) {
      const at = page.turns.findIndex((turn) => turn.index === index);
      if (at >= 0) return page.elements[at];
    }
    return null;
  }

  /**
   * Returns the element of an item, or of the one before it where it has none of its own, after loading its page.
   *
   * @param {number} index
   */
  async at(index) {
    if (!this.pages.some((page) => page.from <= index && index < page.from + PAGE_ITEMS)) {
      await this.load({ from: pageOf(index) });
    }
    for (let near = index; near >= 0 && near > index - PAGE_ITEMS; near -= 1) {
      const element = this.element(near);
      if (element) return element;
    }
    return null;
  }

  /** @param {number} index */
  async reveal(index) {
    const element = await this.at(index);
    element?.scrollIntoView({ block: "center" });
    element?.focus({ preventScroll: true });
  }

  /** @param {number} seconds */
  covers(seconds) {
    return covers(this.starts, seconds, this);
  }

  /**
   * Loads the page that holds this moment, unless it is loaded.
   *
   * @param {number} seconds
   */
  seek(seconds) {
    return this.load({ at: Math.max(0, seconds) });
  }

  /**
   * Adds a page after (1) or before (-1) those that are loaded.
   *
   * @param {1 | -1} step
   */
  async extend(step) {
    if (this.busy || !this.pages.length || (step > 0 ? this.last : this.first)) return;
    const edge = step > 0 ? this.pages[this.pages.length - 1] : this.pages[0];
    await this.fetch({ from: edge.from + step * PAGE_ITEMS }, (page) => {
      this.keepStill(edge, () => {
        this.list[step > 0 ? "append" : "prepend"](...page.elements);
        this.pages.splice(step > 0 ? this.pages.length : 0, 0, page);
        const far = step > 0 ? 0 : this.pages.length - 1;
        if (this.pages.length > MOST_PAGES && isFarAway(this.pages[far])) this.drop(far);
      });
    });
  }

  /**
   * @param {{from?: number, at?: number}} where
   */
  load(where) {
    return this.fetch(where, (page) => {
      if (this.pages.some(({ from }) => from === page.from)) return;
      this.pages = [page];
      this.list.replaceChildren(...page.elements);
    });
  }

  /**
   * @param {{from?: number, at?: number}} where
   * @param {(page: Page) => void} show
   */
  async fetch(where, show) {
    const signal = this.work?.signal;
    const before = this.busy;
    const own = (async () => {
      await before;
      if (signal?.aborted) return;
      try {
        const answer = await ask("turns", { id: this.id, ...where, limit: PAGE_ITEMS }, signal);
        if (signal?.aborted) return;
        this.total = answer.total;
        const elements = answer.turns.map((/** @type {any} */ turn) => makeTurn(turn, answer.total, this.canPlay));
        show({ from: answer.from, turns: answer.turns, elements });
        the("clock-note").textContent = answer.clock?.note ?? "";
        this.tell(answer.note, answer.slowest);
      } catch (error) {
        if (!signal?.aborted) this.onProblem(error, () => this.fetch(where, show));
      }
    })();
    this.busy = own;
    await own;
    if (this.busy === own) this.busy = null;
    this.look();
  }

  /** Has the observer say again what is in sight, because it tells changes alone. */
  look() {
    for (const id of ["earlier", "later"]) {
      this.watch.unobserve(the(id));
      this.watch.observe(the(id));
    }
  }

  /**
   * @param {string | null | undefined} note
   * @param {{index: number, seconds: number} | null | undefined} slowest
   */
  tell(note, slowest) {
    the("slowest").hidden = !slowest;
    if (slowest) the("slowest").firstElementChild.textContent = `Slowest reply: after ${span(slowest.seconds)}`;
    this.slowest = slowest?.index ?? 0;
    the("earlier").hidden = this.first;
    the("later").hidden = this.last;
    the("jump").hidden = this.total <= PAGE_ITEMS;
    the("jump").elements.number.max = this.total;
    this.starts = startsOf(this.pages.flatMap((page) => page.turns));
    the("turn-count").textContent = this.total ? counted(this.total, "item") : "";
    the("transcript-state").replaceChildren(...prose(note ?? (this.total ? "" : "This conversation has no transcript.")));
    this.onChange();
  }

  /** @param {number} at */
  drop(at) {
    const [page] = this.pages.splice(at, 1);
    const held = page.elements.find((element) => element.contains(document.activeElement));
    for (const element of page.elements) element.remove();
    if (held) this.list.querySelector("li")?.focus({ preventScroll: true });
  }

  /**
   * Changes the list so that a page that stays does not move in the window.
   *
   * @param {Page} page
   * @param {() => void} change
   */
  keepStill(page, change) {
    const mark = page.elements[0] ?? this.list;
    const before = mark.getBoundingClientRect().top;
    change();
    window.scrollBy({ top: mark.getBoundingClientRect().top - before, behavior: "instant" });
  }
}

/** @param {Page} page */
function isFarAway({ elements }) {
  if (!elements.length) return true;
  const [top, bottom] = [elements[0].getBoundingClientRect().top, elements[elements.length - 1].getBoundingClientRect().bottom];
  return bottom < -MARGIN_PIXELS || top > window.innerHeight + MARGIN_PIXELS;
}

/** @param {number} index */
const pageOf = (index) => Math.floor(index / PAGE_ITEMS) * PAGE_ITEMS;
