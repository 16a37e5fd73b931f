// The form is the state and the address holds it: what is changed here or by a link is written there, then asked for.
const form = () => element.querySelector("form");
const results = document.getElementById("board-results");
const standard = (field) => field.dataset.default ?? "";
const chosen = (field) => !["checkbox", "radio"].includes(field.type) || field.checked;

const stateOf = () => {
  const query = new URLSearchParams();
  const columns = [...form().elements].filter((field) => field.name === "column");
  const usual = columns.every((field) => field.checked === (field.dataset.usual === "1"));
  for (const field of form().elements) {
    if (!field.name || !chosen(field) || field.value === standard(field) || (field.name === "column" && usual)) continue;
    query.append(field.name, field.value);
  }
  return query.toString();
};

const fill = (query) => {
  const columns = query.has("column");
  for (const field of form().elements) {
    if (!field.name) continue;
    const values = query.getAll(field.name);
    if (field.name === "column") field.checked = columns ? values.includes(field.value) : field.dataset.usual === "1";
    else if (field.type === "checkbox") field.checked = values.includes(field.value);
    else if (field.type === "radio") field.checked = (values[0] ?? standard(field)) === field.value;
    else field.value = values[0] ?? standard(field);
  }
};

const ask = (query, remember) => {
  const address = location.pathname + (query ? `?${query}` : "");
  if (remember) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  results.setAttribute("aria-busy", "true");
  trigger("submit", { query });
};

let typing;
const changed = (event) => {
  if (!form() || event.target.form !== form()) return;
  clearTimeout(typing);
  // the metric that rows of one kind are sorted by may be none of another's
  if (event.target.name === "kind") form().elements.sort.value = standard(form().elements.sort);
  typing = setTimeout(() => ask(stateOf(), false), event.target.type === "search" ? 120 : 0);
};
element.addEventListener("input", changed);
element.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-state]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const query = new URL(link.href).searchParams;
  fill(query);
  ask(query.toString(), true);
});
addEventListener("popstate", () => {
  const query = new URLSearchParams(location.search);
  fill(query);
  ask(query.toString(), false);
});

// ---- a list that is open closes when the reader goes elsewhere
document.addEventListener("click", (event) => {
  for (const fold of element.querySelectorAll("details[open]")) if (!fold.contains(event.target)) fold.open = false;
});
element.addEventListener("keydown", (event) => {
  const fold = event.target.closest("details[open]");
  if (event.key !== "Escape" || !fold) return;
  fold.open = false;
  fold.querySelector("summary").focus();
});

// ---- what came back: the numbers in the form, the columns that are usual, and the focus on a head that was sorted by
let head = "";
results.addEventListener("click", (event) => {
  const cell = event.target.closest("thead th");
  head = cell ? cell.dataset.column ?? "" : "";
}, true);
let answer = "";
const arrived = () => {
  const place = results.querySelector("[data-counts]");
  if (!place || !form() || place.dataset.answer === answer) return; // Gradio changes other things in here too
  answer = place.dataset.answer;
  results.removeAttribute("aria-busy");
  const counts = JSON.parse(place.dataset.counts);
  const usual = JSON.parse(place.dataset.usual);
  for (const small of form().querySelectorAll("[data-count]")) {
    const count = counts[small.dataset.count] ?? 0;
    small.textContent = count.toLocaleString("en");
    const label = small.closest("label");
    const field = label.querySelector("input");
    if (field.type === "checkbox") label.hidden = !count && !field.checked;
  }
  for (const fold of form().querySelectorAll("details.facet")) {
    const fields = [...fold.querySelectorAll("input, select")];
    const set = fields.filter((field) => (field.type === "checkbox" ? field.checked : field.value !== "")).length;
    fold.querySelector(".chosen").textContent = set && !fold.classList.contains("columns") ? set : "";
  }
  const given = new URLSearchParams(location.search).has("column");
  for (const field of form().querySelectorAll('input[name="column"]')) {
    field.dataset.usual = usual.includes(field.value) ? "1" : "0";
    if (!given) field.checked = usual.includes(field.value);
  }
  if (head) results.querySelector(`th[data-column="${head}"] a`)?.focus();
  head = "";
};
new MutationObserver(arrived).observe(results, { childList: true, subtree: true });
