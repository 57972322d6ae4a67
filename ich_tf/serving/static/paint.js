// Makes a canvas as large as a slice; write(image) writes the pixels of its ImageData.
export function paintOn(canvas, { rows, columns }, write) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  write(image);
  context.putImageData(image, 0, 0);
}
