// Wires the page: a walk is chosen, played, enrolled or asked about; people are listed and erased.

import * as api from "./api.js";
import { showEnrolled, showIdentified } from "./answer.js";
import { People } from "./people.js";
import { Player } from "./player.js";

const find = (id) => document.getElementById(id);
const player = new Player(find("player"));
let files = [];

function report(error) {
  find("message").textContent = error?.message ?? "";
  find("message").hidden = !error;
}

// Runs one action at a time; what goes wrong is shown in its own words.
async function run(act) {
  const buttons = document.querySelectorAll("#actions button");
  report(null);
  buttons.forEach((button) => (button.disabled = true));
  try {
    await act();
  } catch (error) {
    report(error);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

function confirm(question) {
  const dialog = find("confirm");
  find("question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function showSample(sample, subject) {
  await run(async () => player.load(await api.sampleWalk(sample), subject));
}

const people = new People({
  list: find("people"),
  more: find("more"),
  count: find("count"),
  onShow: showSample,
  onError: report,
  confirm,
});

async function choose(chosen) {
  if (chosen.length === 0) return;
  find("actions").hidden = true;
  await run(async () => {
    await player.load(await api.preview(chosen), chosen.length === 1 ? chosen[0].name : "pictures");
    files = chosen;
    find("actions").hidden = false;
  });
}

function wireDrop() {
  const drop = find("drop");
  find("files").addEventListener("change", (event) => choose([...event.target.files]));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => choose([...event.dataTransfer.files]));
}

function wireActions() {
  find("identify").addEventListener("click", () =>
    run(async () => showIdentified(find("answer"), await api.identify(files), showSample)));
  find("enroll").addEventListener("submit", (event) => {
    event.preventDefault();
    run(async () => {
      showEnrolled(find("answer"), await api.enroll(files, find("subject").value.trim()));
      await people.refresh();
    });
  });
}

async function start() {
  wireDrop();
  wireActions();
  await run(async () => {
    const { model, provider } = await api.info();
    find("status").textContent = `${model.model_id} on ${provider.replace("ExecutionProvider", "")}`;
    await people.refresh();
  });
}

start();
