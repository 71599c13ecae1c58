// What is at work and what went wrong: told in one place, in sight wherever the page is scrolled to.

import { find } from "./elements.js";

const SHOWN_AFTER_MS = 400; // what is done sooner needs no words

const running = new Set();

// How far an action is, and how it hears that nobody waits for it any more.
class Work {
  #stopper = new AbortController();
  words = "Working …";
  sent = null; // the part of an upload that is on its way, until all of it is
  canStop = false;

  get signal() {
    return this.#stopper.signal;
  }

  stop() {
    this.#stopper.abort();
  }

  tell(words, { sent = null, canStop = false } = {}) {
    Object.assign(this, { words, sent, canStop });
    show();
  }

  sending(part) {
    if (part < 1) this.tell("Sending the walk …", { sent: part, canStop: true });
    else this.tell("Working …");
  }

  waiting(seconds) {
    this.tell(`The service is busy; trying again in ${seconds} s …`, { canStop: true });
  }
}

let timer = null;

function show() {
  const isShown = find("busy").classList.contains("on") && running.size > 0;
  const last = [...running].at(-1);
  find("doing").textContent = isShown ? last.words : "";
  find("sent").hidden = !isShown;
  find("stop").hidden = !(isShown && last.canStop);
  if (!isShown) return;
  if (last.sent === null) find("sent").removeAttribute("value");
  else find("sent").value = last.sent;
}

function count(change, work) {
  running[change](work);
  document.body.classList.toggle("working", running.size > 0);
  if (running.size === 0) {
    clearTimeout(timer);
    timer = null;
    find("busy").classList.remove("on");
  }
  timer ??= running.size ? setTimeout(() => {
    find("busy").classList.add("on");
    show();
  }, SHOWN_AFTER_MS) : null;
  show();
}

export function report(error) {
  find("message").textContent = error?.message ?? "";
  find("trouble").hidden = !error;
}

// Runs an action; what goes wrong is shown in its own words, unless nobody wants to hear of it any
// more. Tells whether it went well.
export async function run(act, isWanted = () => true) {
  const work = new Work();
  report(null);
  count("add", work);
  try {
    await act(work);
    return true;
  } catch (error) {
    if (!work.signal.aborted && isWanted()) report(error);
    return false;
  } finally {
    count("delete", work);
  }
}

export function wireWork() {
  find("stop").addEventListener("click", () => running.forEach((work) => work.canStop && work.stop()));
  find("dismiss").addEventListener("click", () => report(null));
}
