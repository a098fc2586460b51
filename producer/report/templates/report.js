"use strict";
(() => {
  const PAGE = 200;
  const ORDER = ["failed", "timed_out", "errored", "rejected", "not_submitted", "cancelled", "pending", "passed"];
  const find = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const table = find("jobs");
  const rows = [...table.tBodies].map((body, index) => ({
    body,
    index,
    toggle: body.querySelector(".toggle"),
    more: body.querySelector(".more"),
    name: body.querySelector(".toggle").textContent,
    why: body.querySelector(".why").textContent.trim(),
    state: ORDER.indexOf(body.dataset.state),
    time: Number(body.dataset.time),
    text: body.dataset.text,
    causes: body.dataset.causes.split(" "),
  }));
  const byBody = new Map(rows.map((row) => [row.body, row]));
  const byName = new Intl.Collator("en", { numeric: true }).compare;
  const KEYS = {
    name: (a, b) => byName(a.name, b.name),
    state: (a, b) => a.state - b.state,
    why: (a, b) => !a.why - !b.why || byName(a.why, b.why),
    time: (a, b) => a.time - b.time,
  };
  const chosen = { text: "", states: new Set(), cause: "", limit: PAGE };

  function matches(row) {
    return (
      (!chosen.states.size || chosen.states.has(row.body.dataset.state)) &&
      (!chosen.cause || row.causes.includes(chosen.cause)) &&
      chosen.text.split(" ").every((word) => row.text.includes(word))
    );
  }

  function show() {
    let found = 0;
    for (const row of rows) {
      row.body.hidden = !matches(row) || ++found > chosen.limit;
    }
    const filtered = chosen.text || chosen.cause || chosen.states.size;
    const total = rows.length.toLocaleString("en");
    find("shown").textContent = filtered ? `${found.toLocaleString("en")} of ${total}` : total;
    find("clear").hidden = !filtered;
    find("nothing").hidden = found > 0;
    find("more").hidden = found <= chosen.limit;
    find("more").textContent = `Show ${(found - chosen.limit).toLocaleString("en")} more`;
    for (const button of all("button.state")) {
      button.setAttribute("aria-pressed", chosen.states.has(button.dataset.state));
    }
    for (const button of all("button.cause")) {
      button.setAttribute("aria-pressed", chosen.cause === button.dataset.cause);
    }
  }

  function filter(changes) {
    Object.assign(chosen, { limit: PAGE }, changes);
    show();
  }

  function clear() {
    find("search").value = "";
    filter({ text: "", cause: "", states: new Set() });
  }

  function open(row, yes) {
    row.more.hidden = !yes;
    row.toggle.setAttribute("aria-expanded", yes);
  }

  function sort(button) {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of all("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = KEYS[button.dataset.sort];
    rows.sort((a, b) => (down ? compare(b, a) : compare(a, b)) || a.index - b.index);
    table.append(...rows.map((row) => row.body));
    show();
  }

  function reveal() {
    let id = "";
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch {
      return;
    }
    const row = byBody.get(id && find(id));
    if (!row) return;
    if (row.body.hidden) {
      clear();
      chosen.limit = Math.max(PAGE, rows.indexOf(row) + 1);
      show();
    }
    open(row, true);
    row.body.scrollIntoView({ block: "start" });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) {
      const line = event.target.closest("tr.row");
      if (line && !event.target.closest("a") && !String(getSelection())) {
        const row = byBody.get(line.parentElement);
        open(row, row.more.hidden);
      }
      return;
    }
    if (button.matches(".toggle")) {
      const row = byBody.get(button.closest("tbody"));
      open(row, row.more.hidden);
    } else if (button.matches(".state")) {
      const states = new Set(chosen.states);
      if (!states.delete(button.dataset.state)) states.add(button.dataset.state);
      filter({ states });
    } else if (button.matches(".cause")) {
      filter({ cause: chosen.cause === button.dataset.cause ? "" : button.dataset.cause });
      if (chosen.cause) find("projects").scrollIntoView({ block: "start" });
    } else if (button.dataset.sort) {
      sort(button);
    } else if (button.id === "clear") {
      clear();
    } else if (button.id === "more") {
      chosen.limit = Infinity;
      show();
    } else if (button.id === "all-causes") {
      for (const item of all(".later")) item.classList.remove("later");
      button.hidden = true;
    }
  });
  find("search").addEventListener("input", (event) => {
    filter({ text: event.target.value.trim().toLowerCase().replace(/\s+/g, " ") });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input")) {
      event.preventDefault();
      find("search").focus();
    } else if (event.key === "Escape") {
      clear();
    }
  });
  addEventListener("hashchange", reveal);
  document.documentElement.classList.add("scripts");
  show();
  reveal();
})();
