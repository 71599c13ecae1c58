// Shows who it is: the decision in words, and a card for every candidate.

import { element } from "./elements.js";
import { because, faults } from "./reasons.js";

const STEPS = ["decode", "align", "queue", "encode", "search"];

function verdict(answer) {
  const nearest = answer.candidates[0];
  const words = {
    match: () => `This is ${nearest.subject}.`,
    no_match: () => (nearest ? "Nobody who is enrolled." : "Nobody is enrolled yet."),
    inconclusive: () => "Cannot say.",
  }[answer.decision]();
  const why = answer.reasons.length
    ? because(answer.reasons)
    : comparison(nearest, answer.threshold);
  return element(
    "div",
    { className: `verdict ${answer.decision}` },
    element("p", { className: "words", textContent: words }),
    ...(why ? [element("p", { className: "because", textContent: why })] : []),
  );
}

function comparison(nearest, threshold) {
  if (!nearest || !threshold) return "";
  const side = nearest.distance <= threshold.distance ? "within" : "beyond";
  return `The nearest is at distance ${nearest.distance.toFixed(2)}, ${side} the ${threshold.distance.toFixed(2)} of a match.`;
}

// A line of distances: the tinted part is near enough, the dot is this candidate.
function scale(distance, threshold, longest) {
  const zone = element("div", { className: "zone" });
  const dot = element("div", { className: "at" });
  if (threshold) zone.style.width = `${(100 * threshold.distance) / longest}%`;
  dot.style.left = `${(100 * distance) / longest}%`;
  return element("div", { className: "scale", ariaHidden: "true" }, zone, dot);
}

function card(candidate, threshold, longest, onShow) {
  const near = threshold && candidate.distance <= threshold.distance;
  const show = element("button", { type: "button", className: "small", textContent: "Play beside" });
  const made = element(
    "li",
    { className: near ? "card near" : "card" },
    element("span", { className: "rank", textContent: candidate.rank }),
    element("strong", { className: "who", textContent: candidate.subject }),
    element("span", { className: "distance" }, "distance ",
      element("strong", { textContent: candidate.distance.toFixed(2) })),
    scale(candidate.distance, threshold, longest),
    show,
  );
  show.addEventListener("click", () => onShow(candidate, made));
  return made;
}

function cards(answer, onShow) {
  const distances = answer.candidates.map((candidate) => candidate.distance);
  const longest = 1.1 * Math.max(...distances, answer.threshold?.distance ?? 0) || 1;
  const show = async (candidate, shown) => {
    if (!(await onShow(candidate))) return;
    for (const other of list.children) {
      other.classList.toggle("beside", other === shown);
      other.querySelector("button").textContent = other === shown ? "Plays beside" : "Play beside";
    }
  };
  const made = answer.candidates.map((one) => card(one, answer.threshold, longest, show));
  const list = element("ol", { className: "cards" }, ...made);
  const legend = element("p", { className: "note legend" }, "The tinted part is near enough to be the same person.");
  // The nearest plays beside the probe at once: seeing is what the answer is for.
  if (made.length) show(answer.candidates[0], made[0]);
  return made.length && answer.threshold ? [list, legend] : [list];
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
    const rate = `${(100 * threshold.target_fpir).toFixed(1)} % of strangers`;
    lines.push(`Up to distance ${threshold.distance.toFixed(2)} it is a match; at that, ${rate} are named (${threshold.source}).`);
    if (!threshold.valid) lines.push(`It is ${threshold.note}.`);
  }
  lines.push(faults(quality) || "The walk is good enough to decide on.");
  const written = lines.map((textContent) => element("p", { className: "note", textContent }));
  const summary = element("summary", { textContent: "How it was decided" });
  return element("details", { className: "notes" }, summary, ...written, ...timings(steps));
}

export function showIdentified(root, answer, onShow) {
  root.replaceChildren(verdict(answer), ...cards(answer, onShow), notes(answer));
}

export function showEnrolled(root, answer) {
  const words = answer.duplicate
    ? `This walk of ${answer.subject} was enrolled before.`
    : `Enrolled as ${answer.subject}.`;
  const used = `${answer.frames.used} of ${answer.frames.received} frames used. Searches find it from now on.`;
  root.replaceChildren(
    element(
      "div",
      { className: "verdict match" },
      element("p", { className: "words", textContent: words }),
      element("p", { className: "because", textContent: used }),
    ),
  );
}
