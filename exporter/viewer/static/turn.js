/**
 * Makes the element of one item of a transcript: a message, a tool call, or whatever else was said or done.
 */

import { block, fold, isolated, make, unseen } from "./dom.js";
import { clock, span, words } from "./format.js";
import { shown } from "./json_text.js";

/**
 * @typedef {object} ToolCall
 * @property {string | null} name
 * @property {unknown} arguments
 * @property {unknown} result null where none was stored
 * @property {boolean | string | null} error
 * @property {number | null} seconds
 */

/**
 * @typedef {object} Turn
 * @property {number} index from 0
 * @property {string | null} type
 * @property {string | null} role
 * @property {string | null} text
 * @property {number | null} start_seconds since the beginning of the conversation
 * @property {number | null} end_seconds
 * @property {Record<string, number | null>} latency
 * @property {ToolCall[]} tool_calls
 * @property {boolean | null} interrupted
 * @property {number | null} confidence
 * @property {string | null} [at] when it began
 * @property {unknown} raw
 * @property {boolean} [shortened] whether its texts are only the beginning
 */

/** The words for delays, in the order in which they are shown. */
const DELAYS = /** @type {const} */ ({
  e2e_latency: "replied after",
  llm_node_ttft: "first word after",
  tts_node_ttfb: "first sound after",
  transcription_delay: "transcribed after",
  end_of_turn_delay: "end of turn after",
  on_user_turn_completed_delay: "handled after",
});

const SPEAKERS = /** @type {Record<string, string>} */ ({
  assistant: "Agent", user: "User", system: "Instructions", developer: "Instructions",
});

/**
 * @param {Turn} turn
 * @param {number} total
 * @param {boolean} canPlay whether there is a recording to play from this item on
 * @returns {HTMLElement}
 */
export function makeTurn(turn, total, canPlay) {
  const calls = turn.tool_calls ?? [];
  return make(
    "li",
    {
      id: `turn-${turn.index}`,
      class: `turn ${classOf(turn)}`,
      tabindex: "-1",
      "data-index": turn.index,
      "aria-setsize": total,
      "aria-posinset": turn.index + 1,
    },
    make("div", { class: "said-by" }, time(turn, canPlay), make("strong", {}, isolated(speaker(turn))), ...marks(turn)),
    turn.text ? block("p", turn.text) : !calls.length && wordless(turn),
    ...calls.map(toolCall),
    turn.shortened && make("p", { class: "muted" }, "Only the beginning is shown: `exporter sql` has the whole."),
    fold("Raw JSON", () => block("pre", raw(turn))),
  );
}

/** @param {Turn} turn */
const wordless = (turn) =>
  turn.raw ? block("pre", shown(turn.raw)) : make("p", { class: "muted" }, turn.type === "message" ? "Nothing was said." : "");

/**
 * Returns all that is known of an item; below it what no column holds, as it was served.
 *
 * @param {Turn} turn
 */
function raw({ raw: rest, ...known }) {
  return rest ? `${shown(known)}\n\n${shown(rest)}` : shown(known);
}

/** @param {Turn} turn */
const classOf = (turn) =>
  turn.role === "user" ? "by-user" : turn.role === "assistant" ? "by-agent" : "by-machine";

/** @param {Turn} turn */
function speaker(turn) {
  if (turn.role) return SPEAKERS[turn.role] ?? turn.role;
  if (turn.tool_calls?.length) return "Tool";
  return words(turn.type ?? "item");
}

/**
 * @param {Turn} turn
 * @param {boolean} canPlay
 */
function time(turn, canPlay) {
  if (turn.start_seconds === null || turn.start_seconds === undefined) {
    return make("span", { class: "time muted" }, unseen("no time"), make("span", { "aria-hidden": "true" }, "–"));
  }
  const text = clock(turn.start_seconds);
  if (!canPlay) return make("span", { class: "time muted", title: turn.at }, text);
  return make("button", { type: "button", class: "time", title: turn.at, "data-seek": true }, unseen("Play from "), text);
}

/**
 * Returns what is to be noticed: interruptions, delays, confidence.
 *
 * @param {Turn} turn
 */
function marks(turn) {
  const found = [];
  if (turn.interrupted) found.push(make("span", { class: "mark warn" }, "interrupted"));
  const known = Object.keys(DELAYS).filter((name) => typeof turn.latency?.[name] === "number");
  const others = Object.keys(turn.latency ?? {}).filter((name) => !(name in DELAYS));
  for (const name of [...known, ...others]) {
    const value = turn.latency[name];
    if (value === null || value === undefined) continue;
    const label = name in DELAYS ? DELAYS[/** @type {keyof typeof DELAYS} */ (name)] : words(name);
    const isMain = name === "e2e_latency";
    const text = typeof value === "number" ? span(value) : String(value);
    found.push(make("span", { class: isMain ? "mark" : "mark faint", title: name }, `${label} ${text}`));
  }
  if (typeof turn.confidence === "number") {
    found.push(make("span", { class: "mark faint" }, `confidence ${Math.round(turn.confidence * 100)} %`));
  }
  return found;
}

/** @param {ToolCall} call */
function toolCall(call) {
  const failed = Boolean(call.error);
  return make(
    "div",
    { class: failed ? "tool failed" : "tool" },
    make(
      "p",
      { class: "tool-name" },
      make("strong", {}, isolated(call.name ?? "(no name)")),
      typeof call.seconds === "number" && make("span", { class: "mark faint" }, `took ${span(call.seconds)}`),
      failed && make("span", { class: "mark warn" }, "failed"),
    ),
    part("Arguments", call.arguments),
    call.result === null || call.result === undefined
      ? make("p", { class: "muted" }, "No result is stored.")
      : part("Result", call.result),
    typeof call.error === "string" && call.error !== call.result && part("Error", call.error),
  );
}

/**
 * @param {string} title
 * @param {unknown} value
 */
const part = (title, value) =>
  make("div", { class: "part" }, make("span", { class: "muted" }, title), block("pre", shown(value ?? "")));
