// The sample studies that the server offers.

import { byId, make, show } from "./dom.js";

// openSample(sample) is called with the one that is chosen.
export function showSamples(samples, openSample) {
  show(byId("samples"), samples.length > 0);
  byId("sample-list").replaceChildren(
    ...samples.map((sample) =>
      make(
        "li",
        {},
        make(
          "button",
          { type: "button", class: "sample", onclick: () => openSample(sample) },
          make("b", {}, sample.name),
          make("span", { class: "hint" }, sample.description),
          make("span", { class: "count" }, `${sample.num_files} files`),
        ),
      ),
    ),
  );
}
