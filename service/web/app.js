// Wires the page: a walk is chosen, played, enrolled or asked about; people are listed and erased.

import * as api from "./api.js";
import { markBeside, showEnrolled, showErased, showIdentified } from "./answer.js";
import { asked, find } from "./elements.js";
import { wireKey } from "./key.js";
import { wireKeyboard } from "./keyboard.js";
import { followService } from "./link.js";
import { People } from "./people.js";
import { Player } from "./player.js";
import { faults } from "./reasons.js";
import { showSamples } from "./samples.js";
import { Walk } from "./walk.js";
import { run, wireWork } from "./work.js";

const player = new Player();
const intro = [...find("answer").children]; // what stands there while there is no answer
let files = []; // of the walk that is seen
let wanted = null; // what was chosen last, also while it is not seen yet
let asking = null; // the files that a question or an enrolment is about, while it is not answered
let compared = 0; // counts what was to play beside the walk; the last one does

const enrolledWalk = async (sample) => Walk.of(await api.sampleWalk(sample));

// Beside the probe when there is one; a walk of the gallery can be looked at alone, too.
async function showSample(sample, subject) {
  const turn = ++compared;
  const walk = await enrolledWalk(sample);
  if (turn !== compared) return;
  markBeside(find("answer"));
  if (files.length) player.beside(walk, subject);
  else player.load(walk, subject);
  find("player").scrollIntoView({ block: "nearest" });
}

// The first comes by itself: where it has no silhouettes, or they may not be seen, that is no news.
async function besideProbe(candidate, isAsked) {
  const turn = ++compared;
  const isWanted = () => turn === compared;
  const isRead = await run(async () => {
    const walk = await enrolledWalk(candidate.sample_id);
    if (isWanted()) player.beside(walk, candidate.subject);
  }, () => isAsked && isWanted());
  return isRead && isWanted();
}

// Nothing of whoever was erased stays to be seen; the walk that the caller chose is the caller's.
function showErasure(erased) {
  compared++;
  if (files.length) player.alone();
  else player.clear();
  showErased(find("answer"), erased);
  find("answers").scrollIntoView({ block: "nearest" });
}

const people = new People({
  root: find("gallery"),
  run,
  onShow: showSample,
  onErased: showErasure,
  confirm: async (question) => {
    find("question").replaceChildren(...question);
    return (await asked(find("confirm"))) === "yes";
  },
});

// A button that is disabled would lose the focus; one that is busy keeps it, and does nothing.
function showActions() {
  find("actions").hidden = files.length === 0;
  for (const button of find("actions").querySelectorAll("button")) {
    button.ariaDisabled = asking !== null && asking === files;
  }
}

// Who the walk before was says nothing about this one.
function forgetWalk() {
  compared++;
  files = [];
  find("quality").textContent = "";
  find("answer").replaceChildren(...intro);
  find("subject").value = "";
  showActions();
}

let choosing = null;

// Shows the walk that `load` gives; what was chosen before and is still on its way is not wanted.
async function choose(load, name, person = "") {
  const choice = (wanted = {});
  const isWanted = () => wanted === choice;
  choosing?.stop();
  forgetWalk();
  const isSeen = await run(async (work) => {
    choosing = work;
    const chosen = await load();
    if (!isWanted()) return;
    const seen = await api.preview(chosen, work);
    const walk = await Walk.of(seen);
    if (!isWanted()) return;
    player.load(walk, name ?? (chosen.length === 1 ? chosen[0].name : `${chosen.length} pictures`));
    find("quality").textContent = faults(seen.quality);
    find("subject").value = person;
    files = chosen;
    showActions();
  }, isWanted);
  if (!isSeen && isWanted()) player.clear();
}

const chooseFiles = (chosen) => chosen.length && choose(async () => chosen);

const chooseSample = (file, person, words) =>
  choose(async () => [await api.sampleFile(file)], `${person}, ${words}`, person);

// Does something with the walk, once at a time: who asks again meanwhile means the same.
async function withWalk(act, isWanted) {
  const probe = files;
  if (!probe.length || asking === probe) return;
  asking = probe;
  showActions();
  await run((work) => act(probe, work), () => isWanted(probe));
  if (asking === probe) asking = null;
  showActions();
}

const identify = () => withWalk(async (probe, work) => {
  compared++;
  markBeside(find("answer"));
  player.alone();
  const answer = await api.identify(probe, work);
  if (files !== probe) return;
  showIdentified(find("answer"), answer, besideProbe);
  find("answers").scrollIntoView({ block: "nearest" });
}, (probe) => files === probe);

// That it failed is told also where another walk is there already: it was not enrolled.
const enroll = () => withWalk(async (probe, work) => {
  const answer = await api.enroll(probe, find("subject").value.trim(), work);
  if (files === probe) showEnrolled(find("answer"), answer);
  await people.enrolled(answer);
}, () => true);

// Wherever it is dropped: a browser would open it in place of the page.
function wireDrop() {
  find("files").addEventListener("change", (event) => {
    chooseFiles([...event.target.files]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      find("drop").classList.toggle("over", kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    if (!document.querySelector("dialog[open]")) chooseFiles([...event.dataTransfer.files]);
  });
}

function wireActions() {
  find("identify").addEventListener("click", identify);
  find("enroll").addEventListener("submit", (event) => {
    event.preventDefault();
    enroll();
  });
  find("help").addEventListener("click", () => asked(find("help-dialog")));
}

const isSeen = () => player.loaded;
const isChosen = () => files.length > 0;
const always = () => true;

const SHORTCUTS = {
  " ": [isSeen, () => player.toggle()],
  ArrowLeft: [isSeen, () => player.step(-1)],
  ArrowRight: [isSeen, () => player.step(1)],
  i: [isChosen, identify],
  e: [isChosen, () => find("subject").focus()],
  o: [always, () => find("files").click()],
  "/": [always, () => find("search").focus()],
  "?": [always, () => find("help").click()],
};

const connect = followService(find("status"), () => people.reconnect());
wireWork();
wireDrop();
wireActions();
wireKeyboard(SHORTCUTS);
wireKey(async () => {
  await connect();
  await people.refresh();
});
connect();
showSamples(find("samples"), chooseSample).then(
  () => (find("samples-line").hidden = false),
  () => {}, // a package without samples works as well
);
