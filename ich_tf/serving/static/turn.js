// How a slice is turned on the screen: mirrored left to right first, then turned clockwise.

export const UPRIGHT = Object.freeze({ quarters: 0, isMirrored: false });

// Turned a quarter clockwise.
export function turned({ quarters, isMirrored }) {
  return { quarters: (quarters + 1) % 4, isMirrored };
}

// Mirrored as it is seen: left and right of the screen change places.
export function mirrored({ quarters, isMirrored }) {
  return { quarters: (4 - quarters) % 4, isMirrored: !isMirrored };
}

// Turned upside down as it is seen: top and bottom of the screen change places.
export function upended(turn) {
  const { quarters, isMirrored } = mirrored(turn);
  return { quarters: (quarters + 2) % 4, isMirrored };
}

export function isUpright({ quarters, isMirrored }) {
  return quarters === 0 && !isMirrored;
}

// From the slice to the screen, about its middle: [x, y] of a vector in the slice.
export function toScreen({ quarters, isMirrored }, x, y) {
  const [right, down] = [isMirrored ? -x : x, y];
  return [
    [right, down],
    [-down, right],
    [-right, -down],
    [down, -right],
  ][quarters];
}

// The inverse of `toScreen`.
export function fromScreen({ quarters, isMirrored }, x, y) {
  const [right, down] = [
    [x, y],
    [y, -x],
    [-x, -y],
    [-y, x],
  ][quarters];
  return [isMirrored ? -right : right, down];
}

// Direction in the patient at each edge of the screen, of a series' {left, right, top, bottom}.
export function marksOf(orientation, turn) {
  const edge = (x, y) => {
    const [right, down] = fromScreen(turn, x, y);
    if (right) return right > 0 ? orientation.right : orientation.left;
    return down > 0 ? orientation.bottom : orientation.top;
  };
  return { right: edge(1, 0), left: edge(-1, 0), bottom: edge(0, 1), top: edge(0, -1) };
}
