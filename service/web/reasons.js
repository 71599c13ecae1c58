// Every reason that an answer or a refusal may give, in words; a test holds the list to the service's.

const REASONS = {
  TOO_FEW_FRAMES: "too few frames show a body",
  EMPTY_SILHOUETTE: "many frames show no body",
  TRUNCATED_BODY: "the body is cut off at the edge of the pictures",
  LOW_RESOLUTION: "the body is very small in the pictures",
  MULTIPLE_BODIES: "there is more than one body in the pictures",
  NOT_BINARY: "the pictures are not white silhouettes on black",
  DUPLICATE_FRAMES: "many frames are the same picture",
  NO_PERIODICITY: "no steps can be seen",
  NO_THRESHOLD: "there is no threshold to decide by: calibrate the gallery",
  NEAR_THRESHOLD: "the nearest person is near, but not near enough",
  SEVERAL_SUBJECTS: "two people are about equally near: they walk alike, or it is one person under two names",
};

const inWords = (reason) => REASONS[reason] ?? reason.toLowerCase().replaceAll("_", " ");

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;

export const because = (reasons) => reasons.map((one) => sentence(inWords(one))).join(" ");

export const faults = ({ faults: found }) =>
  found.length ? `The walk is of poor quality: ${found.map(inWords).join("; ")}.` : "";
