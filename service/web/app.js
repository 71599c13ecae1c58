// Wires the page: a walk is chosen, played, enrolled or asked about; people are listed and erased.

import * as api from "./api.js";
import { showEnrolled, showErased, showIdentified } from "./answer.js";
import { asked, find } from "./elements.js";
import { hasKey, wireKey } from "./key.js";
import { People } from "./people.js";
import { Player } from "./player.js";
import { faults } from "./reasons.js";
import { showSamples } from "./samples.js";
import { Walk } from "./walk.js";

const player = new Player();
let files = [];
let working = 0;
let wanted = null; // what was chosen last, while it is not seen yet

function report(error) {
  find("message").textContent = error?.message ?? "";
  find("message").hidden = !error;
}

// Runs an action; what goes wrong is shown in its own words. Tells whether it went well. The page is
// `working` until the last one is done, also where another walk was chosen meanwhile.
async function run(act) {
  const buttons = document.querySelectorAll("#actions button");
  report(null);
  document.body.classList.toggle("working", ++working > 0);
  buttons.forEach((button) => (button.disabled = true));
  try {
    await act();
    return true;
  } catch (error) {
    report(error);
    return false;
  } finally {
    document.body.classList.toggle("working", --working > 0);
    buttons.forEach((button) => (button.disabled = false));
  }
}

const enrolledWalk = async (sample) => Walk.of(await api.sampleWalk(sample));

// Beside the probe when there is one; a walk of the gallery can be looked at alone, too.
const showSample = async (sample, subject) => {
  const walk = await enrolledWalk(sample);
  if (files.length) player.beside(walk, subject);
  else player.load(walk, subject);
  find("player").scrollIntoView({ block: "nearest" });
};

const besideProbe = (candidate) => run(async () => {
  const probe = files;
  const walk = await enrolledWalk(candidate.sample_id);
  if (files === probe) player.beside(walk, candidate.subject);
});

// Nothing of whoever was erased stays to be seen; the walk that the caller chose is the caller's.
const showErasure = (erased) => {
  if (files.length) player.alone();
  else player.clear();
  showErased(find("answer"), erased);
  find("answers").scrollIntoView({ block: "nearest" });
};

const people = new People({
  list: find("people"),
  more: find("more"),
  count: find("count"),
  onShow: showSample,
  onErased: showErasure,
  onError: report,
  confirm: async (question) => {
    find("question").textContent = question;
    return (await asked(find("confirm"))) === "yes";
  },
});

function showQuality(quality) {
  find("quality").textContent = faults(quality);
  find("quality").hidden = quality.faults.length === 0;
}

async function choose(chosen, name) {
  if (chosen.length === 0) return;
  find("actions").hidden = true;
  find("quality").hidden = true;
  files = [];
  wanted = chosen;
  // Who the walk before was says nothing about this one.
  find("answer").replaceChildren();
  find("subject").value = "";
  await run(async () => {
    const seen = await api.preview(chosen);
    const walk = await Walk.of(seen);
    if (wanted !== chosen) return;
    player.load(walk, name ?? (chosen.length === 1 ? chosen[0].name : `${chosen.length} pictures`));
    files = chosen;
    showQuality(seen.quality);
    find("actions").hidden = false;
  });
}

function chooseSample(file, person, words) {
  return run(async () => {
    const sample = await api.sampleFile(file);
    await choose([sample], `${person}, ${words}`);
    if (files[0] === sample) find("subject").value = person;
  });
}

const identify = () => run(async () => {
  player.alone();
  const probe = files;
  const answer = await api.identify(probe);
  if (files !== probe) return;
  showIdentified(find("answer"), answer, besideProbe);
  find("answers").scrollIntoView({ block: "nearest" });
});

const enroll = () => run(async () => {
  const probe = files;
  const answer = await api.enroll(probe, find("subject").value.trim());
  if (files === probe) showEnrolled(find("answer"), answer);
  await people.refresh();
});

function wireDrop() {
  const drop = find("drop");
  find("files").addEventListener("change", async (event) => {
    await choose([...event.target.files]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => choose([...event.dataTransfer.files]));
}

function wireActions() {
  find("identify").addEventListener("click", identify);
  find("enroll").addEventListener("submit", (event) => {
    event.preventDefault();
    enroll();
  });
  find("help").addEventListener("click", () => asked(find("help-dialog")));
}

const SHORTCUTS = {
  " ": () => player.toggle(),
  ArrowLeft: () => player.step(-1),
  ArrowRight: () => player.step(1),
  i: () => files.length && identify(),
  e: () => files.length && find("subject").focus(),
  o: () => find("files").click(),
  "?": () => find("help").click(),
};

function wireKeyboard() {
  document.addEventListener("keydown", (event) => {
    const act = SHORTCUTS[event.key];
    const typing = event.target.closest("input, select, dialog");
    // A space on a button presses the button.
    const pressing = event.key === " " && event.target.closest("button, summary, a");
    if (!act || typing || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}

async function connect() {
  find("key").classList.toggle("set", hasKey());
  await run(async () => {
    const { model, provider } = await api.info();
    const where = provider.replace("ExecutionProvider", "");
    find("status-text").textContent = `${model.model_id} on ${where}`;
    find("status").classList.add("ready");
    await people.refresh();
  });
  find("key").classList.toggle("set", hasKey());
}

wireDrop();
wireActions();
wireKeyboard();
wireKey(connect);
connect();
showSamples(find("samples"), chooseSample).then(
  () => (find("samples-line").hidden = false),
  () => {}, // a package without samples works as well
);
