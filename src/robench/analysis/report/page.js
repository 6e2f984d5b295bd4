// Draws every plot in order; the page is readable while it goes on, and says so when it is done.
const specs = JSON.parse(document.getElementById("specs").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

async function draw() {
  const started = performance.now();
  for (const place of document.querySelectorAll("[data-plot]")) {
    const spec = specs[Number(place.dataset.plot)];
    try {
      // The interpreter in place of compiled expressions: the page's policy allows no code but this.
      await vegaEmbed(place, spec, {
        renderer: "svg", actions: false, ast: true, tooltip: { theme: dark.matches ? "dark" : "light" },
      });
    } catch (error) {
      place.textContent = `This plot could not be drawn: ${error.message}`;
      console.error(error);
    }
    document.documentElement.dataset.first ??= String(Math.round(performance.now() - started));
    await new Promise((resume) => setTimeout(resume));
  }
  document.documentElement.dataset.drawn = String(Math.round(performance.now() - started));
}

draw();
