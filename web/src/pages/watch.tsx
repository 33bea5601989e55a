// Watch it see: answers to validation images, filters, feature maps and gradients, while it trains.
import { useState } from "preact/hooks";
import type { Inside, Patches, RunDetail, Strip } from "../messages";
import { Failure } from "../parts/failure";
import { useAsk, useRepeated } from "../parts/hooks";
import { useRuns } from "../parts/live";
import { Bars, RunHead } from "../parts/pieces";
import { number } from "../parts/words";

export default function WatchPage({ id }: { id: string }) {
  const { runs } = useRuns();
  const detail = useAsk<RunDetail>(`runs/${id}`);
  const row = runs.find((one) => one.id === id) ?? detail.value?.row;
  const [image, setImage] = useState(0);
  const [layer, setLayer] = useState("");
  const [unit, setUnit] = useState<number>();
  const lively = row?.state === "running";
  const strip = useRepeated<Strip>(`runs/${id}/strip`, {}, lively);
  const inside = useRepeated<Inside>(`runs/${id}/inside`, { image, layer }, lively);
  const seen = strip.value;
  const right = seen?.images.filter((one) => one.right).length ?? 0;
  return (
    <>
      {row && <RunHead row={row} page="watch" />}
      <Failure error={strip.error} />
      {seen && (
        <section aria-label="What it says of validation images">
          <p class="hint" role="status">
            {seen.weights === "live" ? "Weights of a moment ago" : "The best checkpoint"}, step{" "}
            {seen.step}: {right} of these {seen.images.length} validation images are answered rightly.
          </p>
          <ul class="strip">
            {seen.images.map((one) => (
              <li>
                <button
                  class={`seen ${one.right ? "right" : "wrong"}`}
                  aria-pressed={one.number === image}
                  onClick={() => setImage(one.number)}
                >
                  <Tile strip={seen} at={one.number} />
                  <span class="truth">
                    {one.truth.join(", ") || "nothing"} <span class="mark">{one.right ? "✓" : "✗"}</span>
                  </span>
                  <Bars guesses={one.guesses} truth={one.truth} />
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <Failure error={inside.error} />
      {inside.value && (
        <Look found={inside.value} layer={layer} setLayer={(name) => { setLayer(name); setUnit(undefined); }}
          unit={unit} setUnit={setUnit} />
      )}
      {unit !== undefined && inside.value && <Exciting id={id} layer={inside.value.layer} unit={unit} />}
    </>
  );
}

function Tile({ strip, at }: { strip: Strip; at: number }) {
  return (
    <span
      class="tile"
      style={{
        width: `${strip.side}px`,
        height: `${strip.side}px`,
        backgroundImage: `url(${strip.tiles})`,
        backgroundPosition: `-${at * strip.side}px 0`,
      }}
    />
  );
}

function Look({ found, layer, setLayer, unit, setUnit }: {
  found: Inside;
  layer: string;
  setLayer: (name: string) => void;
  unit?: number;
  setUnit: (unit: number) => void;
}) {
  const cell = found.side + 4;
  return (
    <section>
      <div class="row wrap">
        <h2>Inside, layer by layer</h2>
        <label class="field">
          <span class="label">layer</span>
          <select value={layer || found.layer} onChange={(event) => setLayer(event.currentTarget.value)}>
            {found.layers.map((one) => (
              <option value={one.name}>
                {one.name}: {one.channels} maps of {one.height}×{one.width}
              </option>
            ))}
          </select>
        </label>
      </div>
      <div class="looks">
        <figure>
          <figcaption>The image{found.answer && `: “${found.answer}”`}</figcaption>
          <img src={found.image} alt="the chosen validation image" class="pixels" />
        </figure>
        {found.saliency && (
          <figure>
            <figcaption>What its answer hangs on</figcaption>
            <img src={found.saliency} alt="the image, lit where the answer's score depends on the pixels" class="pixels" />
          </figure>
        )}
        {found.filters && (
          <figure>
            <figcaption>Filters of the first layer</figcaption>
            <img src={found.filters} alt="the first layer's filters" class="pixels" />
          </figure>
        )}
      </div>
      <div class="looks">
        <figure>
          <figcaption>Maps of the units that answer most: click one</figcaption>
          <div class="units">
            <img src={found.maps} alt="feature maps" class="pixels" />
            {found.shown.map((number, i) => (
              <button
                class="unit"
                aria-pressed={number === unit}
                aria-label={`Unit ${number}`}
                title={`unit ${number}`}
                style={{
                  left: `${(i % 6) * cell}px`,
                  top: `${Math.floor(i / 6) * cell}px`,
                  width: `${found.side}px`,
                  height: `${found.side}px`,
                }}
                onClick={() => setUnit(number)}
              />
            ))}
          </div>
        </figure>
        <figure>
          <figcaption>How the answer's score changes with them (grey: not at all)</figcaption>
          <img src={found.gradients} alt="gradients of the answer by the maps" class="pixels" />
        </figure>
      </div>
    </section>
  );
}

function Exciting({ id, layer, unit }: { id: string; layer: string; unit: number }) {
  const { value, error } = useAsk<Patches>(`runs/${id}/patches`, { layer, unit });
  return (
    <section aria-live="polite">
      <h2>
        What excites unit {unit} of {layer}
      </h2>
      <Failure error={error} />
      {!value && !error && <p>Looking through validation images …</p>}
      {value && (
        <figure>
          <img src={value.tiles} alt={`the nine strongest patches: ${value.names.join(", ")}`} class="pixels" />
          <figcaption>
            The nine places in up to 1,000 validation images where it answers most:{" "}
            {value.values.map((v) => number(v, 3)).join(", ")}
          </figcaption>
        </figure>
      )}
    </section>
  );
}
