// The worklist's page: asks for the studies every few seconds, and shows them.

import { request, setTokenAsker } from "./shared/api.js";
import { byId } from "./shared/dom.js";
import { askForToken } from "./shared/token_dialog.js";

const EVERY_MS = 3000;
const STATES = {
  receiving: "images come in",
  waiting: "waits for prediction",
  predicting: "is predicted",
  sending: "is sent",
  done: "done",
  failed: "failed",
  refused: "refused",
};
// Codes of classes as people write them.
const names = (name) => name.replaceAll("_", " ");

function cell(kind, content, className = "") {
  const made = document.createElement(kind);
  made.append(...[content].flat());
  made.className = className;
  return made;
}

function badge(text, kind = "") {
  const made = cell("span", text, "badge");
  made.dataset.kind = kind;
  return made;
}

function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

function moment(time) {
  const made = cell("time", ago(time));
  made.dateTime = time;
  made.title = new Date(time).toLocaleString();
  return made;
}

function name(study) {
  const head = cell("th", [study.accession ?? `Study ${study.study}`]);
  head.scope = "row";
  if (study.accession !== null) head.append(` (study ${study.study})`);
  return head;
}

function urgency(study) {
  const bar = document.createElement("meter");
  bar.value = study.urgency;
  bar.setAttribute("aria-hidden", "true");
  const made = cell("td", [bar, study.urgency.toFixed(2)]);
  if (study.suspected) made.append(" ", badge("suspected", "suspected"));
  for (const code of study.warnings) made.append(" ", badge(names(code).toLowerCase(), "warning"));
  return made;
}

function findings(study) {
  const others = Object.entries(study.findings).filter(([name]) => name !== "any");
  others.sort((a, b) => b[1] - a[1]);
  const likeliest = others.slice(0, 2).map(([name, p]) => `${names(name)} ${p.toFixed(2)}`);
  return cell("td", likeliest.join(", "));
}

function images(study) {
  return cell("td", study.late ? `${study.images} + ${study.late} late` : `${study.images}`);
}

function state(study) {
  if (study.attempts) {
    return cell("td", `attempt ${study.attempts} failed, it is tried again: ${study.text}`, "text");
  }
  const sent = study.state === "done" ? `, ${study.sent} of ${study.results} sent` : "";
  return cell("td", `${STATES[study.state]}${sent}`, "text");
}

function retry(study) {
  if (!study.can_retry) return cell("td", "");
  const button = cell("button", "Try again");
  button.type = "button";
  button.setAttribute("aria-label", `Try study ${study.study} again`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await request(`api/worklist/${study.study}/retry`, { method: "POST" });
    } catch (error) {
      say(error.message);
    }
    await show();
  });
  return cell("td", button);
}

function fill(id, columns, rows, empty) {
  const head = document.createElement("thead");
  head.append(cell("tr", columns.map((column) => cell("th", column))));
  for (const column of head.querySelectorAll("th")) column.scope = "col";
  const body = document.createElement("tbody");
  body.append(...rows);
  if (!rows.length) {
    const none = cell("td", empty, "empty");
    none.colSpan = columns.length;
    body.append(cell("tr", none));
  }
  byId(id).replaceChildren(head, body);
}

function row(study, cells) {
  const made = cell("tr", [name(study), ...cells]);
  made.dataset.study = study.study;
  made.dataset.suspected = study.suspected === true;
  return made;
}

function draw(worklist) {
  const focused = document.activeElement?.getAttribute("aria-label");
  const all = worklist.studies;
  const failed = all.filter((study) => ["failed", "refused"].includes(study.state));
  const rest = all.filter((study) => !failed.includes(study));
  const predicted = rest.filter((study) => ["sending", "done"].includes(study.state));
  const coming = rest.filter((study) => !predicted.includes(study));
  fill(
    "predicted",
    ["Study", "Urgency", "Likeliest", "Images", "Last image", "State"],
    predicted.map((study) =>
      row(study, [urgency(study), findings(study), images(study), cell("td", moment(study.last_image_at)), state(study)]),
    ),
    "No study has been predicted yet.",
  );
  fill(
    "failed",
    ["Study", "Reason", "What happened", "Images", "Last image", ""],
    failed.map((study) =>
      row(study, [
        cell("td", badge(study.reason, "bad")),
        cell("td", study.text, "text"),
        images(study),
        cell("td", moment(study.last_image_at)),
        retry(study),
      ]),
    ),
    "",
  );
  fill(
    "coming",
    ["Study", "Images", "Last image", "State"],
    coming.map((study) => row(study, [images(study), cell("td", moment(study.last_image_at)), state(study)])),
    "",
  );
  // The keyboard stays where it was: the buttons are new ones.
  const again = [...document.querySelectorAll("button[aria-label]")];
  if (focused) again.find((button) => button.getAttribute("aria-label") === focused)?.focus();
  byId("failed-section").hidden = !failed.length;
  byId("coming-section").hidden = !coming.length;
  byId("counts").replaceChildren(
    ...Object.entries(worklist.counts).map(([state, number]) =>
      cell("div", [cell("dt", state), cell("dd", `${number}`)]),
    ),
  );
  byId("destination").textContent = worklist.dry_run
    ? `Dry run: nothing is sent to ${worklist.destination}.`
    : `Results go to ${worklist.destination}.`;
  byId("updated").textContent = `as of ${new Date().toLocaleTimeString()}`;
  say(Object.entries(worklist.problems).map(([part, text]) => `${part}: ${text.replace(/\.$/, "")}`).join("; "));
}

function say(text) {
  byId("message").hidden = !text;
  if (byId("message-text").textContent !== text) byId("message-text").textContent = text;
}

async function show() {
  try {
    const response = await request(`api/worklist?hours=${byId("hours").value}`);
    draw(await response.json());
  } catch (error) {
    say(`${error.message} What is shown may be old.`);
  }
}

// A table that is replaced under the pointer would lose a click.
function isPressed() {
  return document.querySelector("button:active") !== null;
}

byId("hours").addEventListener("change", show);
setTokenAsker(askForToken);
await show();
setInterval(() => {
  if (!document.hidden && !isPressed()) show();
}, EVERY_MS);
