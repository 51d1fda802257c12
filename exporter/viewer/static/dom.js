/**
 * Makes elements whose texts are texts: nothing here, or elsewhere in this page, reads markup.
 */

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * Returns an element. A function is a listener (`onclick`), `true` an attribute without a value; null and false are left out.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} attributes
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child || child === "")));
  return element;
}

/**
 * Returns the element with this id, which the page must have.
 *
 * @param {string} id
 * @returns {any}
 */
export function the(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Returns text that reads in its own direction, whatever stands around it.
 *
 * @param {string} text
 */
export const isolated = (text) => make("bdi", {}, text);

/**
 * Returns text that only a screen reader says.
 *
 * @param {string} text
 */
export const unseen = (text) => make("span", { class: "unseen" }, text);

/**
 * Returns a sentence of the server or of this page, with its commands (between backticks) as code.
 *
 * @param {string} text
 * @returns {Node[]}
 */
export const prose = (text) =>
  text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : document.createTextNode(part)));

/**
 * Returns a part that opens, and is filled when it is first opened.
 *
 * @param {string} title
 * @param {() => Node} fill
 * @param {boolean} open
 */
export function fold(title, fill, open = false) {
  const details = make("details", { open }, make("summary", {}, title));
  const once = () => {
    if (/** @type {HTMLDetailsElement} */ (details).open && details.childElementCount === 1) details.append(fill());
  };
  details.addEventListener("toggle", once);
  if (open) once();
  return details;
}

const LONG_TEXT = 4000;

/**
 * Returns a block of text; of a very long one the beginning, with a button for the rest.
 *
 * @param {string} tag
 * @param {string} text
 */
export function block(tag, text) {
  const attributes = tag === "pre" ? { tabindex: "-1" } : { dir: "auto" };
  if (text.length <= LONG_TEXT) return make(tag, { class: "said", ...attributes }, text);
  const shown = make(tag, { class: "said", ...attributes }, text.slice(0, LONG_TEXT), "…");
  const all = make("button", { type: "button" }, `Show all ${text.length.toLocaleString("en")} characters`);
  all.addEventListener("click", (event) => {
    event.stopPropagation();
    shown.textContent = text;
    all.remove();
  });
  return make("div", {}, shown, all);
}
