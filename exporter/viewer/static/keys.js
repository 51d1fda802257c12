/**
 * Leads keys to what they do. A key that a field, a button or the audio wants for itself stays with it.
 */

import { make, the } from "./dom.js";

const SKIP_SECONDS = 5;

const HELP = [
  ["/", "search: go to the text field"],
  ["j k or ↓ ↑", "next and previous result, or item of the transcript"],
  ["Enter", "open the result; play from the item"],
  ["Space", "play and pause"],
  ["← →", `${SKIP_SECONDS} seconds back and forward`],
  ["Esc", "back to the results; out of a field"],
  ["?", "these keys"],
];

/**
 * @typedef {object} Actions
 * @property {() => boolean} isReading whether a conversation is open
 * @property {() => void} back
 * @property {() => void} search
 * @property {() => void} firstResult
 * @property {(step: 1 | -1) => void} step to the next or previous result or item
 * @property {(element: HTMLElement) => void} play from an item on
 * @property {() => void} toggle
 * @property {(seconds: number) => void} skip
 */

/** @param {Actions} actions */
export function listen(actions) {
  const dialog = /** @type {HTMLDialogElement} */ (the("keys"));
  the("key-rows").append(
    ...HELP.map(([keys, does]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, keys)), make("td", {}, does))),
  );
  const show = () => dialog.showModal();
  the("show-keys").addEventListener("click", show);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || dialog.open) return;
    const done = act(event, { ...actions, show });
    if (done) event.preventDefault();
  });
}

/**
 * Returns whether the key did something.
 *
 * @param {KeyboardEvent} event
 * @param {Actions & {show: () => void}} actions
 */
function act(event, actions) {
  const target = /** @type {HTMLElement} */ (event.target);
  const isField = target.matches("input, select, textarea");
  if (event.key === "Escape") return escape(target, isField, actions);
  if (!the("keys-on").checked) return event.key === "Enter" && playItem(target, actions);
  if (isField) {
    if (event.key !== "ArrowDown" || !target.matches("#filters input")) return false;
    actions.firstResult();
    return true;
  }
  if (target.matches("audio") && event.key !== "j" && event.key !== "k" && event.key !== "/" && event.key !== "?") return false;
  // What scrolls by itself keeps the arrows.
  if (target.matches("#head") && event.key.startsWith("Arrow")) return false;
  switch (event.key) {
    case "/":
      actions.search();
      return true;
    case "?":
      actions.show();
      return true;
    case "j":
    case "ArrowDown":
      actions.step(1);
      return true;
    case "k":
    case "ArrowUp":
      actions.step(-1);
      return true;
    case "Enter":
      return playItem(target, actions);
    case " ":
      if (!actions.isReading() || target.matches("button, summary, a")) return false;
      actions.toggle();
      return true;
    case "ArrowLeft":
    case "ArrowRight":
      if (!actions.isReading()) return false;
      actions.skip(event.key === "ArrowLeft" ? -SKIP_SECONDS : SKIP_SECONDS);
      return true;
    default:
      return false;
  }
}

/**
 * @param {HTMLElement} target
 * @param {boolean} isField
 * @param {Actions} actions
 */
function escape(target, isField, actions) {
  if (actions.isReading()) actions.back();
  else if (isField) target.blur();
  else return false;
  return true;
}

/**
 * @param {HTMLElement} target
 * @param {Actions} actions
 */
function playItem(target, actions) {
  if (!target.matches("li.turn")) return false;
  actions.play(target);
  return true;
}
