// A chart's drawing as a PNG file: title, legend and picture on the card's background, in the colours of the theme.

const MARGIN = 16;
const HEAD = 44;

/** Offer the file for download. `canvas`: the drawing; `entries`: `{title, color, text}` of the legend. */
export async function savePng(canvas, { name, title, entries }) {
  const ratio = devicePixelRatio;
  const picture = document.createElement("canvas");
  picture.width = canvas.width + 2 * MARGIN * ratio;
  picture.height = canvas.height + (HEAD + 2 * MARGIN) * ratio;
  const style = getComputedStyle(document.querySelector(".panel"));
  const ink = picture.getContext("2d");
  ink.fillStyle = style.backgroundColor;
  ink.fillRect(0, 0, picture.width, picture.height);
  ink.scale(ratio, ratio);
  ink.textBaseline = "top";
  ink.fillStyle = style.color;
  ink.font = `600 15px ${style.fontFamily}`;
  ink.fillText(title, MARGIN, MARGIN);
  writeLegend(ink, entries, style);
  ink.drawImage(canvas, MARGIN, MARGIN + HEAD, canvas.width / ratio, canvas.height / ratio);
  const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${name}.png` });
  link.click();
  URL.revokeObjectURL(link.href);
}

function writeLegend(ink, entries, style) {
  ink.font = `13px ${style.fontFamily}`;
  let x = MARGIN;
  for (const { color, text } of entries) {
    ink.fillStyle = color;
    ink.fillRect(x, MARGIN + 26, 10, 10);
    ink.fillStyle = style.color;
    ink.fillText(text, x + 16, MARGIN + 24);
    x += 16 + ink.measureText(text).width + 20;
  }
}
