// Without this script the page is complete; with it, tables can be sorted and print whole.
"use strict";

document.documentElement.classList.add("js");

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell === undefined ? "" : (cell.dataset.value ?? cell.textContent.trim());
  return text === "" ? null : text;
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
  const known = rows.filter((r) => r.value !== null);
  const unknown = rows.filter((r) => r.value === null); // last, whichever way the others go
  const numeric = known.every((r) => Number.isFinite(Number(r.value)));
  const words = new Intl.Collator("en", { numeric: true });
  const compare = numeric ? (a, b) => a.value - b.value : (a, b) => words.compare(a.value, b.value);
  known.sort((a, b) => (descending ? compare(b, a) : compare(a, b)));
  body.append(...[...known, ...unknown].map((r) => r.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.querySelector("[aria-hidden]") !== null) return; // a drawing, of the numbers beside it
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sorted = head.getAttribute("aria-sort");
      const descending = sorted === "ascending" || (sorted === null && "high" in head.dataset);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => {
  opened.forEach((details) => { details.open = false; });
});
