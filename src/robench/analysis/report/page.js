// Draws every chart in order, and offers the data of each group as CSV. The page is readable while it goes on.
const groups = JSON.parse(document.getElementById("groups").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const order = document.querySelector(".order");

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
  const group = groups[Number(place.closest("[data-group]").dataset.group)];
  return [place, group.charts[Number(place.dataset.chart)]];
});

async function drawAll() {
  for (const [place, chart] of places) {
    await draw(place, chart);
    document.documentElement.dataset.first ??= String(Math.round(performance.now()));
    await new Promise((resume) => setTimeout(resume));
  }
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
}

function csv(group) {
  const rows = group.charts.flatMap((chart) => chart.rows);
  const keys = Object.keys(group.columns).filter((key) => rows.some((row) => key in row));
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [keys.map((key) => group.columns[key]), ...rows.map((row) => keys.map((key) => row[key]))];
  return lines.map((line) => `${line.map(cell).join(",")}\n`).join("");
}

for (const button of document.querySelectorAll("[data-csv]")) {
  button.addEventListener("click", () => {
    const group = groups[Number(button.closest("[data-group]").dataset.group)];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(group)], { type: "text/csv" }));
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

drawAll();
