// The page asks its own server, puts what comes back in its place, and decides nothing itself.
const LATER_MS = 120;
let lines = [];
let csv = "";
let tried = {};
let timer = 0;

const find = (id) => document.getElementById(id);

async function ask(path, body, type = "application/json") {
  const headers = { "Content-Type": type };
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body, headers });
  } catch {
    throw new Error("the server does not answer; is the command still running?");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
  const is_json = answer.headers.get("Content-Type").startsWith("application/json");
  return is_json ? answer.json() : { html: await answer.text() };
}

function say(status, line, failed = false) {
  status.textContent = line;
  status.classList.toggle("failed", failed);
  status.classList.remove("done");
}

// what was asked later counts
function next(place) {
  place.asked = (place.asked || 0) + 1;
  return place.asked;
}

async function fill(place, status, request) {
  const number = next(place);
  place.classList.add("busy");
  say(status, "Asking the model…");
  try {
    const found = await request;
    if (number !== place.asked) return;
    place.innerHTML = found.html;
    if (found.csv !== undefined) csv = found.csv;
    const said = place.querySelector("[data-said]");
    say(status, said ? said.dataset.said : "Done");
    status.classList.add("done"); // what is said stands in the answer, too
  } catch (error) {
    if (number !== place.asked) return;
    place.replaceChildren();
    say(status, error.message, true);
  } finally {
    if (number === place.asked) place.classList.remove("busy");
  }
}

function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox") found[field.name] = field.checked;
    else if ("percent" in field.dataset) found[field.name] = field.value === "" ? null : field.valueAsNumber / 100;
    else found[field.name] = field.value;
  }
  return found;
}

function send(form, more = {}) {
  const place = find(form.dataset.target);
  const status = find(form.dataset.status);
  if (form.dataset.file) {
    const file = form.elements.file.files[0];
    const path = `${form.dataset.file}?name=${encodeURIComponent(suffix(file.name))}`;
    return fill(place, status, ask(path, file, "application/octet-stream"));
  }
  const body = { ...values(form), ...more };
  if (body.text !== undefined) {
    lines = body.text.split("\n").filter((line) => /[^ \t\r\f\v]/.test(line));
    tried = {};
  }
  return fill(place, status, ask(form.dataset.post, JSON.stringify(body)));
}

// the name of a file may be personal: the server needs to know its kind alone
function suffix(name) {
  return name.includes(".") ? `file.${name.split(".").pop()}` : "file";
}

async function decide(ad) {
  const body = JSON.stringify({ numbers: JSON.parse(ad.dataset.numbers), choice: tried });
  const status = find("try-status");
  const number = next(ad);
  try {
    const found = await ask("decide", body);
    if (number !== ad.asked || !ad.isConnected) return;
    const parts = new DOMParser().parseFromString(found.html, "text/html");
    for (const part of parts.querySelectorAll("[data-part]")) {
      ad.querySelector(`[data-part="${part.dataset.part}"]`).replaceWith(part);
    }
    say(status, ad.querySelector("[data-said]").dataset.said);
    status.classList.add("done");
  } catch (error) {
    say(status, error.message, true);
  }
}

function move(field) {
  const ad = field.closest(".ad");
  const name = field.dataset.setting;
  tried[name] = name === "rule" ? field.value : field.valueAsNumber;
  if (name === "rule") show_rule(ad, field.value);
  else field.parentElement.querySelector("output").value = field.value;
  clearTimeout(timer);
  timer = setTimeout(() => decide(ad), LATER_MS);
}

function show_rule(ad, rule) {
  for (const slider of ad.querySelectorAll("[data-rule]")) {
    slider.hidden = slider.dataset.rule !== rule;
    if (slider.hidden) delete tried[slider.querySelector("[data-setting]").dataset.setting];
  }
}

function explain(number) {
  const form = document.querySelector('[data-post="texts"]');
  find("text").value = lines[number - 1];
  form.elements.each_line.checked = false;
  form.requestSubmit();
  find("text").scrollIntoView({ block: "center" });
  find("text").focus({ preventScroll: true });
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csv], { type: "text/csv" }));
  link.download = "classified.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copy(button) {
  const shown = button.parentElement.querySelector("pre");
  getSelection().selectAllChildren(shown);
  try {
    await navigator.clipboard.writeText(shown.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
  }
}

function click(button) {
  const data = button.dataset;
  if (data.explain) explain(Number(data.explain));
  else if ("download" in data) download();
  else if ("copy" in data) copy(button);
  else if (data.page) send(find("run-list"), { page: Number(data.page) });
  else if (data.find) {
    find("ad-id").value = data.find;
    find("ad-id").form.requestSubmit();
  }
}

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.dataset.target) send(event.target);
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[type=button]");
  if (button) click(button);
});
document.addEventListener("input", (event) => {
  if (event.target.dataset.setting) move(event.target);
});
document.addEventListener("reset", (event) => {
  const ad = event.target.closest(".ad");
  if (!ad) return;
  tried = {};
  setTimeout(() => {
    for (const field of ad.querySelectorAll("input[data-setting]")) {
      field.parentElement.querySelector("output").value = field.getAttribute("value");
    }
    show_rule(ad, ad.querySelector("select[data-setting]").value);
    decide(ad);
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "text") {
    event.target.form.requestSubmit();
  }
});
find("sample").addEventListener("change", (event) => {
  if (!event.target.value) return;
  find("text").value = event.target.value;
  find("text").form.elements.each_line.checked = false;
});
