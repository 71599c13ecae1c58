// Keys that act on the page, where they are not meant for something else.

export function wireKeyboard(shortcuts) {
  document.addEventListener("keydown", (event) => {
    const [canAct, act] = shortcuts[event.key] ?? [];
    const typing = event.target.closest("input, select") || document.querySelector("dialog[open]");
    // A space on a button presses the button.
    const pressing = event.key === " " && event.target.closest("button, summary, a");
    if (!act || typing || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!canAct()) return;
    event.preventDefault();
    act();
  });
}
