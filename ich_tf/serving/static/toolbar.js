// The toolbar: window presets and fields, the thickness of slabs; and zoom.

import { byId, make, show } from "./dom.js";
import { slabChoices } from "./slab.js";
import { WHOLE } from "./view_transform.js";
import { limited, PRESETS, presetOf } from "./windowing.js";

export function makeToolbar(store, panes) {
  const presets = PRESETS.map(({ key, name, center, width }) =>
    make(
      "button",
      {
        type: "button",
        title: `Center ${center}, width ${width} HU (${key})`,
        onclick: () => store.set({ window: { center, width } }),
      },
      name,
    ),
  );
  byId("presets").replaceChildren(...presets);

  const center = byId("window-center");
  const width = byId("window-width");
  const typed = () => {
    if (center.value === "" || width.value === "") return;
    const given = limited({ center: center.valueAsNumber, width: width.valueAsNumber });
    center.value = given.center;
    width.value = given.width;
    store.set({ window: given });
  };
  center.addEventListener("change", typed);
  width.addEventListener("change", typed);

  byId("zoom-in").addEventListener("click", () => panes.viewer.zoomBy(1.25));
  byId("zoom-out").addEventListener("click", () => panes.viewer.zoomBy(0.8));
  byId("zoom-fit").addEventListener("click", () => store.set({ view: WHOLE }));

  const slab = byId("slab");
  slab.addEventListener("change", () => store.set({ slabMm: Number(slab.value) }));
  store.on(["study", "series"], () => {
    const series = store.get("study")?.series[store.get("series")];
    const choices = series ? slabChoices(series) : [];
    show(byId("slab-field"), choices.length > 0);
    slab.replaceChildren(
      make("option", { value: "0" }, "1 slice"),
      ...choices.map((mm) => make("option", { value: mm }, `${mm} mm`)),
    );
    // A slab of the series before may not be one of this series.
    if (!choices.includes(store.get("slabMm"))) store.set({ slabMm: 0 });
    slab.value = store.get("slabMm");
  });

  const write = () => {
    const current = store.get("window");
    const chosen = presetOf(current);
    PRESETS.forEach((preset, i) =>
      presets[i].setAttribute("aria-pressed", String(preset === chosen)),
    );
    slab.value = store.get("slabMm");
    // A field that is being edited keeps its text.
    if (document.activeElement !== center) center.value = current.center;
    if (document.activeElement !== width) width.value = current.width;
  };
  store.on(["window", "slabMm"], write);
  write();
}
