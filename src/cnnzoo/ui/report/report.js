// Without this script every table and picture is there all the same.

// Tables: a button in each heading sorts by its column.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, body, heading));
  }
}

function sort(table, body, heading) {
  const isNumber = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  // Numbers begin with the largest, words with A.
  const order = before ? (before === "ascending" ? "descending" : "ascending") : isNumber ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const key = (row) => row.cells[heading.cellIndex].textContent.trim();
  const number = (row) => Number.parseFloat(key(row).replaceAll(",", "").replace("−", "-"));
  const compare = isNumber
    ? (a, b) => {
        const [x, y] = [number(a), number(b)];
        // What is no number stands last, whichever way round.
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return sign * (x - y);
      }
    : (a, b) => sign * key(a).localeCompare(key(b), undefined, { numeric: true });
  body.append(...[...body.rows].sort(compare));
}

// The matrix: a click on a number shows the images behind it, and the page stays where it is. The arrow keys go from
// number to number, so that Tab passes all of them in one step.
const matrix = document.querySelector("table.matrix");
const behind = document.getElementById("behind");
if (matrix) {
  document.documentElement.classList.add("scripted");
  const links = [...matrix.querySelectorAll("a")];
  const enter = (link) => {
    for (const other of matrix.querySelectorAll("a[tabindex='0']")) other.tabIndex = -1;
    link.tabIndex = 0;
  };
  for (const link of links) link.tabIndex = -1;
  if (links.length) links[0].tabIndex = 0;

  const choose = (link) => {
    matrix.querySelector("[aria-current]")?.removeAttribute("aria-current");
    behind.querySelector(".chosen")?.classList.remove("chosen");
    link.setAttribute("aria-current", "true");
    document.getElementById(link.hash.slice(1)).classList.add("chosen");
    enter(link);
  };

  matrix.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    choose(link);
    behind.scrollIntoView({ block: "nearest" });
    history.replaceState(null, "", link.hash);
  });

  matrix.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
    const cell = event.target.closest("td");
    if (down === undefined || !cell || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const rows = matrix.tBodies[0].rows;
    let [y, x] = [cell.parentElement.sectionRowIndex + down, cell.cellIndex + right];
    for (; rows[y]?.cells[x]; y += down, x += right) {
      const link = rows[y].cells[x].querySelector("a");
      if (link) {
        enter(link);
        link.focus();
        return;
      }
    }
  });

  // The one that was asked for by the address, else the most frequent confusion.
  const first = links.find((link) => link.hash === location.hash) ??
    links.find((link) => link.hash === `#${behind.querySelector(".cell")?.id}`);
  if (first) choose(first);
}

// On paper nothing is folded away.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) details.dataset.folded = details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-folded]")) details.open = false;
});
