"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const parts = [...document.querySelectorAll("section.part")];
  const cells = parts.flatMap((part) => [...part.querySelectorAll("figure")]);
  cells.forEach((cell, i) => {
    cell.place = i;
    cell.score = cell.dataset.score === undefined ? NaN : Number(cell.dataset.score);
    cell.words = cell.textContent.toLowerCase();
  });
  const tools = $("tools");
  tools.hidden = false;
  tools.addEventListener("submit", (event) => event.preventDefault());

  const show = () => {
    const text = $("filter").value.trim().toLowerCase();
    const least = $("least").value === "" ? -Infinity : Number($("least").value);
    let shown = 0;
    for (const part of parts) {
      const named = part.querySelector("h2").textContent.toLowerCase().includes(text);
      let some = 0;
      for (const cell of part.querySelectorAll("figure")) {
        cell.hidden = !(named || cell.words.includes(text)) || (least > -Infinity && !(cell.score >= least));
        some += !cell.hidden;
      }
      part.hidden = some === 0;
      shown += some;
    }
    $("shown").textContent = `${shown} of ${cells.length}`;
  };

  const number = (score, none) => (Number.isNaN(score) ? none : score);
  const orders = {
    given: () => 0,
    high: (a, b) => number(b.score, -Infinity) - number(a.score, -Infinity) || 0,
    low: (a, b) => number(a.score, Infinity) - number(b.score, Infinity) || 0,
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
  };
  const sort = () => {
    const order = orders[$("sort").value];
    for (const part of parts) {
      const grid = part.querySelector(".grid");
      grid.append(...[...grid.children].sort((a, b) => order(a, b) || a.place - b.place));
    }
  };

  const move = (step) => {
    const visible = [...document.querySelectorAll("section:not([hidden]) figure:not([hidden])")];
    const at = visible.indexOf(document.activeElement.closest("figure"));
    const next = visible[at < 0 ? 0 : Math.min(Math.max(at + step, 0), visible.length - 1)];
    if (next) next.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = /^(INPUT|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "Escape") {
      $("filter").value = $("least").value = "";
      document.activeElement.blur();
      show();
    } else if (typing) {
      return;
    } else if (event.key === "/") {
      $("filter").focus();
    } else if (event.key === "ArrowRight" || event.key === "j") {
      move(1);
    } else if (event.key === "ArrowLeft" || event.key === "k") {
      move(-1);
    } else if (event.key === "Enter" && document.activeElement.tagName === "FIGURE") {
      const link = document.activeElement.querySelector("a");
      if (link) link.click();
      return;
    } else {
      return;
    }
    event.preventDefault();
  });

  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("th").forEach((head, column) => {
      let down = false;
      head.addEventListener("click", () => {
        down = !down;
        const value = (row) => row.cells[column].textContent;
        const order = head.classList.contains("number")
          ? (a, b) => parseFloat(value(a)) - parseFloat(value(b))
          : (a, b) => value(a).localeCompare(value(b));
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
      });
    });
  }

  $("filter").addEventListener("input", show);
  $("least").addEventListener("input", show);
  $("sort").addEventListener("change", sort);
  show();
})();
