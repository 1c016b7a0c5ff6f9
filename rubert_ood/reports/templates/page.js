for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const sort = () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const number = (text) => (text === "" ? -Infinity : Number(text));
      const compare = head.classList.contains("n")
        ? (a, b) => number(value(a)) - number(value(b)) || 0
        : (a, b) => value(a).localeCompare(value(b), "ru");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => (ascending ? compare(a, b) : compare(b, a))));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort();
    });
  });
}
const reveal = () => {
  const place = location.hash && document.getElementById(location.hash.slice(1));
  const folded = place && place.closest("details");
  if (!folded || folded.open) return;
  folded.open = true;
  place.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
