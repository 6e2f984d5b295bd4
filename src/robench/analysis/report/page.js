// Draws every chart in order, and offers the data of each group as CSV. The page is readable while it goes on.
const groups = JSON.parse(document.getElementById("groups").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const order = document.querySelector(".order");
const groupOf = (element) => groups[Number(element.closest("[data-group]").dataset.group)];

// The interpreter in place of compiled expressions, and no injected styles: the page's policy allows only its own.
const options = {
  renderer: "svg", actions: false, ast: true, defaultStyle: false,
  tooltip: { disableDefaultStyle: true, id: "tooltip" },
};

function ordered(chart) {
  const names = chart.orders?.[order?.querySelector("input:checked").value];
  if (names) chart.spec.height = chart.spec.usermeta.row * names.length;
  for (const layer of names ? chart.spec.layer : []) {
    if (layer.encoding.y?.field === "name") layer.encoding.y.scale.domain = names;
  }
  return { ...chart.spec, datasets: { rows: chart.rows } };
}

async function draw(place, chart) {
  try {
    await vegaEmbed(place, ordered(chart), options);
  } catch (error) {
    place.textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  }
}

const places = [...document.querySelectorAll("[data-chart]")].map((place) => {
  return [place, groupOf(place).charts[Number(place.dataset.chart)]];
});

const waiting = new Set(places);

async function drawAll() {
  for (const each of waiting) {
    waiting.delete(each);
    await draw(...each);
    document.documentElement.dataset.first ??= String(Math.round(performance.now()));
    await new Promise((resume) => setTimeout(resume));
  }
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
}

const rowsOf = (group) => group.charts.flatMap((chart) => chart.rows);
const keysOf = (group, rows) => Object.keys(group.columns).filter((key) => rows.some((row) => key in row));

function csv(group) {
  const rows = rowsOf(group);
  const keys = keysOf(group, rows);
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [keys.map((key) => group.columns[key]), ...rows.map((row) => keys.map((key) => row[key]))];
  return lines.map((line) => `${line.map(cell).join(",")}\n`).join("");
}

function cells(tag, texts, isNumber) {
  const row = document.createElement("tr");
  texts.forEach((text, index) => {
    const cell = row.appendChild(document.createElement(index === 0 ? "th" : tag));
    cell.textContent = text;
    if (tag === "th" || index === 0) cell.scope = tag === "th" ? "col" : "row";
    if (isNumber[index]) cell.className = "number";
  });
  return row;
}

// The data of a group as a table, with both ends of an interval in one column.
function table(group) {
  const rows = rowsOf(group);
  const keys = keysOf(group, rows).filter((key) => key !== "low" && key !== "high");
  const hasInterval = rows.some((row) => row.low != null);
  const text = (value) => {
    if (typeof value === "number") return String(Number(value.toFixed(2)));
    return typeof value === "boolean" ? (value ? "yes" : "no") : value ?? "";
  };
  const interval = (row) => (row.low == null ? "" : `${row.low.toFixed(2)} to ${row.high.toFixed(2)}`);
  const isNumber = [...keys.map((key) => !rows.some((row) => typeof row[key] === "string")), true];
  const made = document.createElement("table");
  const headings = [...keys.map((key) => group.columns[key]), ...(hasInterval ? ["95 % interval"] : [])];
  made.createTHead().append(cells("th", headings, isNumber));
  made.createTBody().append(...rows.map((row) =>
    cells("td", [...keys.map((key) => text(row[key])), ...(hasInterval ? [interval(row)] : [])], isNumber)));
  return made;
}

for (const data of document.querySelectorAll("details.data")) {
  const fill = () => data.querySelector(".scroll").replaceChildren(table(groupOf(data)));
  data.addEventListener("toggle", fill, { once: true });
}

for (const button of document.querySelectorAll("[data-csv]")) {
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(groupOf(button))], { type: "text/csv" }));
    link.download = `${button.dataset.csv.replaceAll(/[^\w-]+/g, "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

if (order) {
  order.hidden = false;
  order.addEventListener("change", async () => {
    for (const [place, chart] of places) if (chart.orders) await draw(place, chart);
  });
}

// A page that is printed while it opens has all its charts: drawing waits for promises only, which settle before the print.
window.addEventListener("beforeprint", () => {
  for (const each of waiting) draw(...each);
  waiting.clear();
});

drawAll();
