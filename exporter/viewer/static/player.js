/**
 * Plays the recording of a conversation in step with its transcript.
 */

import { address, whyNoAudio } from "./api.js";
import { make, prose, the } from "./dom.js";
import { clock } from "./format.js";
import { currentAt } from "./timeline.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2, 3];

export class Player {
  /** @param {import("./transcript.js").Transcript} transcript */
  constructor(transcript) {
    this.transcript = transcript;
    transcript.onChange = () => this.mark();
    /** @type {HTMLAudioElement} */
    this.audio = the("audio");
    /** @type {HTMLElement | null} */
    this.current = null;
    this.url = "";
    /** The second for which the page of the transcript was asked last: a transcript without times is not asked for again and again. */
    this.asked = -1;
    the("speed").append(
      ...SPEEDS.map((speed) => make("option", { value: speed, selected: speed === 1 }, `${speed} ×`)),
    );
    the("speed").addEventListener("change", () => this.setSpeed());
    the("shift").addEventListener("change", () => this.mark());
    the("follow").addEventListener("change", () => this.mark());
    for (const event of ["timeupdate", "seeked", "play"]) this.audio.addEventListener(event, () => this.mark());
    this.audio.addEventListener("error", () => this.complain());
    window.addEventListener("scroll", () => this.letGo(), { passive: true });
  }

  get isOpen() {
    return this.url !== "";
  }

  get follows() {
    return the("follow").checked;
  }

  /** Returns how many seconds later an item is in the recording than the transcript says. */
  get shift() {
    return Number(the("shift").value) || 0;
  }

  /**
   * @param {string} id
   */
  open(id) {
    this.url = address("recording", { id });
    this.asked = -1;
    the("player").hidden = false;
    the("player-problem").textContent = "";
    the("shift").value = "0";
    the("follow").checked = true;
    this.audio.src = this.url;
    this.setSpeed();
  }

  close() {
    this.url = "";
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    this.setCurrent(null);
    the("player").hidden = true;
  }

  setSpeed() {
    const speed = Number(the("speed").value);
    this.audio.defaultPlaybackRate = this.audio.playbackRate = speed;
  }

  toggle() {
    if (!this.isOpen) return;
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  play() {
    this.audio.play().catch((error) => {
      // A pause or another conversation that comes first is no failure.
      if (error.name !== "AbortError" && error.name !== "NotSupportedError") {
        the("player-problem").textContent = `The browser does not play: ${error.message}`;
      }
    });
  }

  /** @param {number} seconds */
  skip(seconds) {
    if (this.isOpen) this.audio.currentTime = Math.max(0, this.audio.currentTime + seconds);
  }

  /**
   * Plays from an item on, and follows again.
   *
   * @param {number} seconds when it began, as the transcript says
   */
  playFrom(seconds) {
    if (!this.isOpen) return;
    const start = Math.max(0, seconds + this.shift);
    const isBeyond = this.audio.duration <= start;
    the("player-problem").textContent = isBeyond
      ? `The recording ends at ${clock(this.audio.duration)}, before this item, if it began with the conversation.` : "";
    if (isBeyond) return;
    the("follow").checked = true;
    this.audio.currentTime = start;
    this.play();
  }

  /** Marks the item that is being said; if the reader follows, brings it into sight, and loads what comes next. */
  mark() {
    if (!this.isOpen || !this.transcript.total) return;
    const hasBegun = this.audio.currentTime > 0 || !this.audio.paused;
    const seconds = this.audio.currentTime - this.shift;
    const { starts } = this.transcript;
    if (!hasBegun) return this.setCurrent(null);
    const second = Math.floor(seconds);
    if (this.follows && !this.transcript.busy && second !== this.asked && !this.transcript.covers(seconds)) {
      this.asked = second;
      this.transcript.seek(seconds);
    }
    const index = currentAt(starts, seconds);
    this.setCurrent(index === null ? null : this.transcript.element(index));
    return undefined;
  }

  /** @param {HTMLElement | null} element */
  setCurrent(element) {
    if (element === this.current) return;
    this.current?.removeAttribute("aria-current");
    this.current = element;
    element?.setAttribute("aria-current", "true");
    if (element && this.follows && !this.isInSight(element)) element.scrollIntoView({ block: "center" });
  }

  /** Stops to follow when the reader scrolls the current item out of sight. */
  letGo() {
    if (this.current?.isConnected && this.follows && !this.isInSight(this.current)) the("follow").checked = false;
  }

  /** @param {HTMLElement} element */
  isInSight(element) {
    const { top, bottom } = element.getBoundingClientRect();
    const floor = the("player").getBoundingClientRect().top;
    return bottom > 0 && top < floor && (top >= 0 || bottom <= floor || bottom - top > floor);
  }

  async complain() {
    const url = this.url;
    if (!url) return;
    const why = await whyNoAudio(url);
    if (url === this.url) the("player-problem").replaceChildren(...prose(why));
  }
}
