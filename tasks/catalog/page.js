"use strict";
const { entries, columns } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const say = (text) => { at("said").textContent = ""; setTimeout(() => { at("said").textContent = text; }, 30); };
const pressed = (button, on) => button.setAttribute("aria-pressed", on);
function make(tag, text, attributes = {}) { // all text goes in as text, never as markup
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// ---- light and dark ----
const theme = at("theme"), system = matchMedia("(prefers-color-scheme: dark)");
const stored = () => { try { return localStorage.getItem("umsrep-theme"); } catch { return null; } };
function colours(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
  pressed(theme, (chosen || (system.matches ? "dark" : "light")) === "dark");
}
theme.addEventListener("click", () => {
  const chosen = theme.getAttribute("aria-pressed") === "true" ? "light" : "dark";
  try { localStorage.setItem("umsrep-theme", chosen); } catch { /* a page from a file may have no storage */ }
  colours(chosen);
});
system.addEventListener("change", () => colours(document.documentElement.dataset.theme));
colours(stored());

// ---- filter and sort ----
const body = at("found").tBodies[0], first = new Map(), lines = new Map();
for (const row of body.rows) {
  lines.set(+row.dataset.entry, row);
  first.set(row, [...row.querySelector(".value").childNodes]);
}
const limit = (id) => { const value = at(id).valueAsNumber; return Number.isFinite(value) ? value : null; };
function passes(entry, checked, size) {
  if (checked.modality.length && !checked.modality.includes(entry.modality)) return false;
  if (checked.licence.length && !checked.licence.includes(entry.licence)) return false;
  if (!checked.kind.every((kind) => entry.kind.includes(kind))) return false;
  const unknown = size.some(([most, value]) => most !== null && value === null);
  return size.some(([most, value]) => most !== null && value !== null && value > most) ? false : unknown ? null : true;
}
function bar(cell, low, high) {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const x = (value) => (6 + (value - low) / (high - low || 1) * 168).toFixed(1);
  const draw = (tag, kind, values) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    node.setAttribute("class", kind);
    for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
    picture.append(node);
  };
  for (const [name, value] of Object.entries({ viewBox: "0 0 180 16", width: 180, height: 16, "aria-hidden": "true" })) picture.setAttribute(name, value);
  draw("line", "grid", { x1: 6, x2: 174, y1: 8, y2: 8 });
  if (cell.interval) draw("line", "line s0 thick", { x1: x(cell.interval[0]), x2: x(cell.interval[1]), y1: 8, y2: 8 });
  draw("circle", "dot s0", { cx: x(cell.value), cy: 8, r: 4.5 });
  return picture;
}
function order(shown, by) { // best first; what was not measured, or not recorded, last whichever way round
  const column = columns[by], turn = at("reverse").getAttribute("aria-pressed") === "true" ? -1 : 1;
  const value = (k) => column ? entries[k].cells[by]?.value ?? null : by === "name" ? entries[k].name : entries[k][by];
  return shown.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    const less = by === "name" ? a - b : column && !column.lower ? y - x : x - y;
    return turn * less || a - b;
  });
}
const on = (by, cell) => [cell.remark, columns[by].place, cell.licence].filter(Boolean).join("; ");
function rowsOfPlace() { // the second list follows the first
  const chosen = at("sort").selectedOptions[0], place = chosen.dataset.place;
  at("row-of").hidden = place === undefined;
  const count = (k) => entries.filter((e) => e.cells[k]).length;
  at("row").replaceChildren(...columns.flatMap((c, k) => c.place === place ? [make("option", `${c.label} – ${count(k)} measured`, { value: k })] : []));
}
function update() {
  const checked = Object.fromEntries(["modality", "kind", "licence"].map((name) => [name, all(`input[name=${name}]:checked`).map((box) => box.value)]));
  const most = [limit("parameters"), limit("mebibytes")];
  const results = entries.map((e) => passes(e, checked, [[most[0], e.parameters === null ? null : e.parameters / 1e6], [most[1], e.mebibytes]]));
  const by = at("sort").value === "place" ? at("row").value : at("sort").value, column = columns[by], shown = order(entries.map((_, k) => k).filter((k) => results[k]), by);
  const cells = column ? shown.map((k) => entries[k].cells[by]).filter((c) => c && c.value !== null) : [];
  const ends = cells.flatMap((c) => [c.value, ...(c.interval || [])]), low = Math.min(...ends), high = Math.max(...ends);
  for (const [k, row] of lines) {
    row.hidden = !results[k];
    const place = row.querySelector(".value"), cell = column && entries[k].cells[by];
    if (!column) place.replaceChildren(...first.get(row));
    else if (!cell) place.replaceChildren(make("span", "not measured", { class: "soft" }));
    else place.replaceChildren(make("b", cell.text), ...(cell.value === null ? [] : [bar(cell, low, high)]), make("span", on(by, cell), { class: "soft" }));
  }
  for (const k of shown) body.append(lines.get(k));
  for (const one of all("details.entry")) one.hidden = !results[+one.dataset.entry];
  at("measured").textContent = column ? column.label : "Measured: first of each head";
  for (const head of all("thead th", at("found"))) head.removeAttribute("aria-sort");
  const turned = at("reverse").getAttribute("aria-pressed") === "true", falls = Boolean(column && !column.lower) !== turned;
  at("found").tHead.rows[0].cells[{ name: 0, parameters: 3, mebibytes: 4 }[by] ?? 6].setAttribute("aria-sort", falls ? "descending" : "ascending");
  const unknown = results.filter((r) => r === null).length, missing = shown.length - cells.length;
  const parts = [`${shown.length} of ${entries.length} ${entries.length === 1 ? "encoder" : "encoders"} shown.`];
  if (column) parts.push(`Sorted by ${column.label}, ${column.place}; ${column.lower ? "lower" : "higher"} is better, ${turned ? "worst" : "best"} first.`);
  if (column && missing) parts.push(`${missing} not measured there, shown last.`);
  if (unknown) parts.push(`${unknown} left out because ${unknown === 1 ? "its size is" : "their sizes are"} not recorded.`);
  at("count").textContent = parts.join(" ");
}
at("filters").hidden = theme.hidden = false;
at("sort").addEventListener("input", rowsOfPlace); // before the form's own, which it bubbles to
at("filters").addEventListener("input", update);
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("filters").addEventListener("reset", () => { pressed(at("reverse"), false); setTimeout(() => { rowsOfPlace(); update(); }); });
at("reverse").addEventListener("click", () => { pressed(at("reverse"), at("reverse").getAttribute("aria-pressed") !== "true"); update(); });
rowsOfPlace();
update();

// ---- one encoder ----
function openTarget() {
  const target = /^#e-\d+$/.test(location.hash) && at(location.hash.slice(1));
  if (target) { target.open = true; target.hidden = false; target.scrollIntoView(); target.querySelector("summary").focus(); }
}
for (const link of all("#found a")) link.addEventListener("click", () => setTimeout(openTarget));

// ---- copying ----
for (const button of all(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = at(button.dataset.copy), what = button.getAttribute("aria-label").replace(/^Copy /, "");
    try {
      await navigator.clipboard.writeText(code.textContent);
      say(`Copied ${what}.`);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      say(`The browser forbids copying; ${what} is selected: press Ctrl+C.`);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 4000);
  });
}

// ---- compare two ----
const sides = ["left", "right"].map(at);
function section(heading, rows) {
  const part = make("tbody");
  const line = part.insertRow();
  line.append(make("th", heading, { scope: "rowgroup", colspan: 3 }));
  for (const [what, ...values] of rows) {
    const row = part.insertRow();
    row.append(make("th", what, { scope: "row" }));
    for (const value of values) {
      const cell = make("td", typeof value === "string" ? value : value ? undefined : "not measured");
      if (value && typeof value !== "string") cell.append(make("b", value.text), make("span", [value.remark, value.licence].filter(Boolean).join("; "), { class: "soft" }));
      row.append(cell);
    }
  }
  return part;
}
function sideBySide(caption, parts) {
  const table = make("table", null, { class: "both" }), frame = make("div", null, { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
  table.append(make("caption", caption));
  table.createTHead().insertRow().append(make("th", "What", { scope: "col" }), ...pair().map((e) => make("th", e.name, { scope: "col" })));
  table.append(...parts);
  frame.append(table);
  return frame;
}
const pair = () => sides.map((select) => select.value).filter((value, k, chosen) => value !== "" && chosen.indexOf(value) === k).map((value) => entries[value]);
function measured(keys) { // a part for each set of images
  const [a, b] = pair(), places = [...new Set(keys.map((k) => columns[k].place))];
  const rows = (place) => keys.filter((k) => columns[k].place === place).map((k) => [columns[k].label, a.cells[k] ?? null, b.cells[k] ?? null]);
  return places.map((place) => section(place, rows(place)));
}
function compare() {
  const chosen = sides.map((select) => select.value);
  for (const button of all("[data-pick]")) pressed(button, chosen.includes(button.dataset.pick));
  if (pair().length < 2) {
    const why = chosen[0] !== "" && chosen[0] === chosen[1] ? "Both are the same: choose another second encoder." : "Choose two encoders here, or by their buttons in the table.";
    at("comparison").replaceChildren(make("p", why, { class: "soft" }));
    return;
  }
  const [a, b] = pair(), keys = columns.map((_, k) => k);
  const both = keys.filter((k) => a.cells[k] && b.cells[k]), one = keys.filter((k) => Boolean(a.cells[k]) !== Boolean(b.cells[k]));
  const facts = [...new Set([a, b].flatMap((e) => e.facts.map(([what]) => what)))];
  const fact = (e, what) => e.facts.find(([name]) => name === what)?.[1] ?? "not recorded";
  const same = make("p", both.length ? `${both.length} ${both.length === 1 ? "row was" : "rows were"} measured of both on the same images.` : "No row was measured of both on the same images: their numbers do not compare.");
  const rest = make("details");
  rest.append(make("summary", `Measured of one only, which does not compare: ${one.length} ${one.length === 1 ? "row" : "rows"}`), sideBySide("Measured of one only", measured(one)));
  const pictures = make("div", null, { class: "sides" });
  for (const [k, e] of [a, b].entries()) {
    const side = make("div"), figures = all(`#e-${chosen[k]} [data-pictures] figure`);
    side.append(make("h3", `Reliability and shift of ${e.name}`));
    if (!figures.length) side.append(make("p", "not measured", { class: "soft" }));
    for (const figure of figures) side.append(figure.cloneNode(true));
    pictures.append(side);
  }
  const parts = [section("Facts", facts.map((what) => [what, fact(a, what), fact(b, what)])), ...measured(both)];
  at("comparison").replaceChildren(same, sideBySide(`${a.name} beside ${b.name}`, parts), ...(one.length ? [rest] : []), pictures);
  say(`Comparing ${a.name} with ${b.name}, below the table. ${same.textContent}`);
}
if (sides[0]) {
  at("pair").hidden = false;
  for (const cell of all(".pick")) cell.hidden = false;
  for (const select of sides) select.addEventListener("change", compare);
  for (const button of all("[data-pick]")) {
    button.addEventListener("click", () => { // a third takes the place of the second
      const there = sides.find((select) => select.value === button.dataset.pick);
      (there ?? sides.find((select) => select.value === "") ?? sides[1]).value = there ? "" : button.dataset.pick;
      compare();
      if (sides.some((select) => select.value === "")) say(there ? "Taken out of the comparison." : `${entries[button.dataset.pick].name} is the first to compare: choose a second.`);
    });
  }
  const asked = location.hash.startsWith("#compare=") ? location.hash.slice(9).split(",").map(decodeURIComponent) : [];
  asked.slice(0, 2).forEach((name, k) => { const n = entries.findIndex((e) => e.name === name); if (n >= 0) sides[k].value = n; });
  if (asked.length) { compare(); at("compare").scrollIntoView(); }
}
openTarget();
