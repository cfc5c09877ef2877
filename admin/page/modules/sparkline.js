// A small trend line over the minutes, scaled from its lowest to its highest value. Gaps stay gaps.

const WIDTH = 120;
const HEIGHT = 36;
const MARGIN = 3;

/** Draw `{times, values}` into the two paths of an <svg>; fewer than two values are no trend. */
export function drawTrend(svg, { times, values }) {
  const known = values.filter((value) => value !== null);
  const [area, line] = svg.querySelectorAll("path");
  if (known.length < 2) {
    area.removeAttribute("d");
    line.removeAttribute("d");
    return;
  }
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [start, end] = [times[0], times[times.length - 1]];
  const x = (time) => (((time - start) / (end - start || 1)) * WIDTH).toFixed(1);
  const y = (value) =>
    high === low ? HEIGHT / 2 : HEIGHT - MARGIN - ((value - low) / (high - low)) * (HEIGHT - 2 * MARGIN);
  const runs = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (index === 0 || values[index - 1] === null) runs.push([]);
    runs.at(-1).push([x(times[index]), y(value).toFixed(1)]);
  });
  const path = (run) => `M${run.map((point) => point.join(" ")).join("L")}`;
  line.setAttribute("d", runs.map(path).join(""));
  area.setAttribute("d", runs.map((run) => `${path(run)}L${run.at(-1)[0]} ${HEIGHT}L${run[0][0]} ${HEIGHT}Z`).join(""));
}
