// Says whether the service answers, and looks for it again until it does.

import * as api from "./api.js";

const AGAIN_AFTER_MS = 5000;

// Gives a function that connects; `onConnected` is called each time that the service answers again.
export function followService(status, onConnected) {
  const words = status.querySelector("#status-text");
  let connecting = null;
  let timer = null;

  function show(text, isReady = false) {
    // Said once, not at every try.
    if (words.textContent !== text) words.textContent = text;
    status.classList.toggle("ready", isReady);
  }

  async function connect() {
    clearTimeout(timer);
    try {
      const { model, provider } = await api.info();
      show(`${model.model_id} on ${provider.replace("ExecutionProvider", "")}`, true);
    } catch (error) {
      show(`not connected: ${error.message}`);
      // Without a key that may be asked, only another key helps.
      if (error.status !== 401 && error.status !== 403) timer = setTimeout(start, AGAIN_AFTER_MS);
      return;
    }
    await onConnected();
  }

  const start = () => (connecting ??= connect().finally(() => (connecting = null)));

  addEventListener("unanswered", () => status.classList.contains("ready") && start());
  return start;
}
