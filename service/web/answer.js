// Shows who it is: the decision in words, and a card for every candidate.

import { counted, element, named } from "./elements.js";
import { because, faults } from "./reasons.js";

const STEPS = ["decode", "align", "queue", "encode", "search"];

function verdict(answer) {
  const nearest = answer.candidates[0];
  const words = {
    match: () => ["This is ", named(nearest.subject), "."],
    no_match: () => [nearest ? "Nobody is near enough." : "Nobody is enrolled yet."],
    inconclusive: () => perhaps(answer) ?? ["Cannot tell."],
  }[answer.decision]();
  const why = answer.reasons.length && !isOnly(answer, "NEAR_THRESHOLD")
    ? because(answer.reasons)
    : comparison(nearest, answer.threshold);
  return element(
    "div",
    { className: `verdict ${answer.decision}` },
    element("p", { className: "words" }, ...words),
    ...(why ? [element("p", { className: "because", textContent: why })] : []),
  );
}

// With one of these the walk itself is good: only the distances leave it open.
const isOnly = ({ reasons }, reason) => reasons.length === 1 && reasons[0] === reason;

function perhaps(answer) {
  const [nearest, following] = answer.candidates;
  if (isOnly(answer, "NEAR_THRESHOLD")) return ["Perhaps ", named(nearest.subject), "."];
  if (isOnly(answer, "SEVERAL_SUBJECTS")) {
    return ["Perhaps ", named(nearest.subject), ", or ", named(following.subject), "."];
  }
  return null;
}

const SIDES = {
  near: ", within",
  unsure: ": near, but beyond",
  far: ", beyond",
};

function side(distance, threshold) {
  if (!threshold || distance > threshold.inconclusive_to) return "far";
  return distance <= threshold.distance ? "near" : "unsure";
}

function comparison(nearest, threshold) {
  if (!nearest || !threshold) return "";
  const where = side(nearest.distance, threshold);
  const advice = where === "unsure" ? " Compare the two walks. The more walks of a person are enrolled, the clearer the answer." : "";
  return `The nearest person is at distance ${nearest.distance.toFixed(2)}${SIDES[where]} ${threshold.distance.toFixed(2)}, the limit for a match.${advice}`;
}

// A line of distances: tinted is near enough, striped is unsure, the dot is this candidate.
function scale(distance, threshold, longest) {
  const part = (length) => `${(100 * length) / longest}%`;
  const zones = !threshold ? [] : ["unsure", "near"].map((zone) => {
    const made = element("div", { className: `zone ${zone}` });
    made.style.width = part(zone === "near" ? threshold.distance : threshold.inconclusive_to);
    return made;
  });
  const dot = element("div", { className: "at" });
  dot.style.left = part(distance);
  return element("div", { className: "scale", ariaHidden: "true" }, ...zones, dot);
}

function legend(threshold) {
  const parts = [element("span", { className: "near", textContent: "near enough for a match" })];
  if (threshold.inconclusive_to > threshold.distance) {
    parts.push(element("span", { className: "unsure", textContent: "too near to rule out" }));
  }
  return element("p", { className: "note legend", ariaLive: "off" }, ...parts);
}

function card(candidate, threshold, longest, onShow) {
  const where = side(candidate.distance, threshold);
  const show = element("button", {
    type: "button", className: "small", textContent: "Play beside", ariaDescription: candidate.subject });
  const made = element(
    "li",
    { className: where === "far" ? "card" : `card ${where}` },
    element("span", { className: "rank", textContent: candidate.rank }),
    element("strong", { className: "who", textContent: candidate.subject }),
    element("span", { className: "distance" }, "distance ",
      element("strong", { textContent: candidate.distance.toFixed(2) })),
    scale(candidate.distance, threshold, longest),
    show,
  );
  show.addEventListener("click", () => onShow(candidate, made, true));
  return made;
}

function cards(answer, onShow) {
  const distances = answer.candidates.map((candidate) => candidate.distance);
  const longest = 1.1 * Math.max(...distances, answer.threshold?.inconclusive_to ?? 0) || 1;
  const show = async (candidate, shown, isAsked) => {
    if (await onShow(candidate, isAsked)) markBeside(list, shown);
  };
  const made = answer.candidates.map((one) => card(one, answer.threshold, longest, show));
  // The decision is read aloud when it comes, not also every card.
  const list = element("ol", { className: "cards", role: "list", ariaLive: "off" }, ...made);
  // The nearest plays beside the probe at once: seeing is what the answer is for.
  if (made.length) show(answer.candidates[0], made[0], false);
  return made.length && answer.threshold ? [list, legend(answer.threshold)] : [list];
}

// Says which card plays beside the probe; without one, that none does.
export function markBeside(root, shown = null) {
  for (const card of root.querySelectorAll(".card")) {
    card.classList.toggle("beside", card === shown);
    card.querySelector("button").textContent = card === shown ? "Plays beside" : "Play beside";
  }
}

function timings(steps) {
  const total = STEPS.reduce((sum, step) => sum + steps[step], 0) || 1;
  const parts = STEPS.map((step) => {
    const part = element("span", { className: `step-${step}`, title: `${step} ${steps[step]} ms` });
    part.style.flexGrow = steps[step] / total;
    return part;
  });
  const words = STEPS.map((step) => `${step} ${steps[step].toFixed(1)}`).join(" · ");
  return [
    element("div", { className: "timings", ariaHidden: "true" }, ...parts),
    element("p", { className: "note", textContent: `${words} ms` }),
  ];
}

function notes(answer) {
  const { frames, quality, threshold, timings_ms: steps } = answer;
  const lines = [`${frames.used} of ${frames.received} frames used, ${steps.total.toFixed(0)} ms in all.`];
  if (threshold) {
    const rate = `${(100 * threshold.target_fpir).toFixed(1)} % of the searches by strangers`;
    lines.push(`Up to distance ${threshold.distance.toFixed(2)} it is a match. This limit was chosen so that at most ${rate} name somebody (measured on ${threshold.source}).`);
    if (threshold.inconclusive_to > threshold.distance) {
      lines.push(`From there to ${threshold.inconclusive_to.toFixed(2)} the answer stays open: strangers come that near too often.`);
    }
    if (!threshold.valid) lines.push(`The limit is ${threshold.note}.`);
  }
  lines.push(faults(quality) || "Nothing is wrong with the walk.");
  const written = lines.map((textContent) => element("p", { className: "note", textContent }));
  const summary = element("summary", { textContent: "How it was decided" });
  return element("details", { className: "notes", ariaLive: "off" }, summary, ...written, ...timings(steps));
}

export function showIdentified(root, answer, onShow) {
  root.replaceChildren(verdict(answer), ...cards(answer, onShow), notes(answer));
}

// Told by the service when a name may have been mixed up.
function doubt({ subject, conflict }) {
  if (!conflict) return [];
  return [element("p", { className: "because" },
    "But it is nearer to ", named(conflict.subject), ` (distance ${conflict.distance.toFixed(2)}) than to the other walks of `,
    named(subject), ` (${conflict.own_distance.toFixed(2)}). Is the name mixed up, or is one person enrolled under two names?`)];
}

export function showEnrolled(root, answer) {
  const words = answer.duplicate
    ? ["This walk of ", named(answer.subject), " was enrolled before."]
    : ["Enrolled as ", named(answer.subject), "."];
  const used = `${answer.frames.used} of ${answer.frames.received} frames used. From now on this walk is found.`;
  root.replaceChildren(
    element(
      "div",
      { className: `verdict ${answer.conflict ? "inconclusive" : "match"}` },
      element("p", { className: "words" }, ...words),
      element("p", { className: "because", textContent: used }),
      ...doubt(answer),
    ),
  );
}

const FILES = {
  overwritten: "It is overwritten in the files of the database.",
  vacuumed: "The database server has freed its space.",
  pending: "Something is still reading the files of the database; they are overwritten with the next write or start.",
};

// What was looked for afterwards; null when nothing could be.
function looked(proof) {
  if (!proof) return "That could not be checked afterwards; the service's log says why.";
  const left = proof.rows + proof.found + proof.indexed;
  return `${left || "Nothing"} of it was found afterwards. ${FILES[proof.files]}`;
}

// The salt is told this once: with it the receipt shows later whose it is.
export function showErased(root, { subject, samples, salt, receipt }) {
  const kept = Object.entries({ "subject id": subject, receipt: receipt.receipt_id, salt });
  const rows = kept.flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ]);
  const words = "The receipt names nobody. Keep these three to show later whose it is; the salt is shown only now:";
  root.replaceChildren(
    element(
      "div",
      { className: "verdict no_match" },
      element("p", { className: "words" },
        `Erased ${counted(samples, "walk", "walks")} of `, named(subject), "."),
      element("p", { className: "because", textContent: looked(receipt.proof) }),
    ),
    element("p", { className: "note", textContent: words }),
    element("dl", { className: "receipt" }, ...rows),
  );
}
