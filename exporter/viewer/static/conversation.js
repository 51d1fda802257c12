/**
 * Shows the head of a conversation: its facts, metadata, recording, and what a policy has done to them.
 */

import { block, fold, isolated, make } from "./dom.js";
import { moment, size, span, words } from "./format.js";
import { shown } from "./json_text.js";

/** Facts that are read most come first; the others follow in the order of the export. */
const FIRST = [
  "status", "channel", "direction", "created_at", "updated_at", "duration", "user_turn_count", "agent",
  "agent_id", "agent_version_id", "user_id", "agent_number",
];
/** Texts that a reader wants to see at once; other long values are folded. */
const OPEN = ["summary", "custom_metadata", "initial_context"];
const SECONDS = ["duration"];
const SHORT = 200;

/**
 * @param {any} answer of `conversation`
 * @param {any} about
 * @returns {Node[]}
 */
export function makeHead({ row, recording, shortened = {} }, about) {
  const names = Object.keys(row).filter((name) => row[name] !== null && name !== "id");
  names.sort((one, other) => rank(one) - rank(other));
  const isLong = (/** @type {string} */ name) => {
    const text = textOf(name, row[name], about);
    return OPEN.includes(name) || text.length > SHORT || /^\s*[{[]/.test(text);
  };
  const facts = names.filter((name) => !isLong(name));
  const absent = Object.keys(row).filter((name) => row[name] === null);
  return [
    make(
      "dl",
      { class: "facts" },
      fact("ID", row.id, null),
      ...facts.map((name) => fact(words(name), textOf(name, row[name], about), protection(name, about))),
      fact("recording", recordingText(recording), null),
    ),
    ...names.filter(isLong).map((name) => long(name, row[name], about, shortened[name])),
    absent.length > 0 && make("p", { class: "muted" }, `Empty: ${absent.map(words).join(", ")}.`),
    fold("Raw row", () => block("pre", shown(row))),
  ].filter((node) => node instanceof Node);
}

/**
 * Returns what the policy of the export has done to transcripts, in a sentence, or nothing.
 *
 * @param {any} about
 */
export function transcriptProtection(about) {
  const rules = rulesOf(about).filter(({ field }) => /^(conversation|turns)\b/.test(field));
  if (!rules.length) return "";
  return `The policy of this export has changed transcripts: ${rules.map(({ field, action }) => `${field}: ${action}`).join("; ")}.`;
}

/**
 * @param {any} about
 * @returns {{field: string, action: string}[]}
 */
const rulesOf = (about) => (about.policy?.fields ?? []).filter((/** @type {any} */ rule) => rule.action !== "keep");

/** @param {string} name */
function rank(name) {
  const at = FIRST.indexOf(name);
  return at < 0 ? FIRST.length : at;
}

/**
 * @param {string} name
 * @param {any} value
 * @param {any} about
 */
function textOf(name, value, about) {
  if (name === "agent" && typeof value === "object") return value.name || value.id || "";
  if (name.endsWith("_at") && typeof value === "string") return moment(value, about.timezone || "UTC");
  if (SECONDS.includes(name) && typeof value === "number") return span(value) || "0 s";
  return typeof value === "string" ? value : shown(value);
}

/**
 * @param {string} name
 * @param {any} about
 */
function protection(name, about) {
  const rules = rulesOf(about).filter(({ field }) => field === name || field.startsWith(`${name}.`));
  return rules.map(({ field, action }) => (field === name ? action : `${field.slice(name.length + 1)}: ${action}`)).join("; ");
}

/**
 * @param {string} label
 * @param {string} text
 * @param {string | null} badge
 */
const fact = (label, text, badge) =>
  make("div", {}, make("dt", {}, label), make("dd", {}, isolated(text), badge ? make("span", { class: "mark warn" }, badge) : ""));

/**
 * @param {string} name
 * @param {any} value
 * @param {any} about
 * @param {number | undefined} fullLength in characters, where the value is only the beginning
 */
function long(name, value, about, fullLength) {
  const text = shown(value);
  const isJson = typeof value !== "string" || /^\s*[{[]/.test(value);
  const badge = protection(name, about);
  const part = fold(words(name), () => block(isJson ? "pre" : "p", text), OPEN.includes(name));
  if (fullLength) {
    part.querySelector("summary")?.append(make("span", { class: "mark" }, `the beginning of ${fullLength.toLocaleString("en")} characters`));
  }
  if (badge) part.querySelector("summary")?.append(make("span", { class: "mark warn" }, badge));
  return part;
}

/** @param {any} recording */
function recordingText(recording) {
  if (!recording) return "none";
  if (recording.missing) return `missing: ${recording.missing}`;
  const length = typeof recording.duration_seconds === "number" ? span(recording.duration_seconds) : null;
  const bytes = typeof recording.bytes === "number" ? size(recording.bytes) : null;
  return [length, recording.type, bytes, recording.note].filter(Boolean).join(", ");
}
