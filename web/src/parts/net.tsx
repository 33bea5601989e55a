// The network as a net: each unit with its map, weights as the width and colour of lines.
import { useState } from "preact/hooks";
import type { Picture } from "./game";
import { Heat } from "./heat";
import { useWidth } from "./hooks";
import { number } from "./words";

const UNIT = 34;
const GAP = 12;
const TOP = 30;

interface Props {
  picture: Picture;
  setLayers: (layers: number[]) => void;
  setWeight: (layer: number, unit: number, source: number, value: number) => void;
}

interface Edge {
  layer: number;
  unit: number;
  source: number;
}

export function Net({ picture, setLayers, setWeight }: Props) {
  const [box, width] = useWidth();
  const [over, setOver] = useState<{ column: number; unit: number }>();
  const [edge, setEdge] = useState<Edge>();
  const columns = picture.units;
  const layers = picture.settings.layers;
  const height = TOP + Math.max(...columns) * (UNIT + GAP) + 8;
  const x = (column: number) =>
    columns.length > 1 ? (column * (width - UNIT)) / (columns.length - 1) : 0;
  const y = (column: number, unit: number) =>
    TOP + unit * (UNIT + GAP) + (column === columns.length - 1 ? GAP : 0);
  const name = (column: number, unit: number) =>
    column === 0
      ? picture.settings.features[unit]!
      : column === columns.length - 1
        ? "output"
        : `layer ${column}, unit ${unit + 1}`;
  const resize = (layer: number, by: number) =>
    setLayers(layers.map((units, i) => (i === layer ? Math.min(8, Math.max(1, units + by)) : units)));
  const chosen = edge && picture.weights[edge.layer]?.[edge.unit];
  const value = edge && chosen ? (edge.source < 0 ? picture.biases[edge.layer]![edge.unit]! : chosen[edge.source]) : undefined;
  return (
    <>
      <div ref={box} class="net" style={{ height: `${height}px` }}>
        {width > 0 && (
          <svg width={width} height={height} role="group" aria-label="Weights of the network">
            {picture.weights.map((rows, layer) =>
              rows.map((row, unit) =>
                row.map((weight, source) => {
                  const [x1, y1] = [x(layer) + UNIT, y(layer, source) + UNIT / 2];
                  const [x2, y2] = [x(layer + 1), y(layer + 1, unit) + UNIT / 2];
                  const bend = (x2 - x1) / 2;
                  const size = Math.min(8, 0.6 + 2.2 * Math.abs(weight));
                  const on = edge?.layer === layer && edge.unit === unit && edge.source === source;
                  return (
                    <path
                      d={`M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`}
                      class={`weight ${weight > 0 ? "plus" : "minus"} ${on ? "on" : ""}`}
                      stroke-width={size}
                      onClick={() => setEdge({ layer, unit, source })}
                    >
                      <title>
                        {name(layer, source)} → {name(layer + 1, unit)}: {number(weight, 3)}
                      </title>
                    </path>
                  );
                }),
              ),
            )}
          </svg>
        )}
        {width > 0 &&
          columns.map((units, column) => (
            <>
              {column > 0 && column < columns.length - 1 && (
                <span class="sizer" style={{ left: `${x(column) - 10}px` }}>
                  <button aria-label={`One unit more in layer ${column}`} disabled={units >= 8} onClick={() => resize(column - 1, 1)}>
                    +
                  </button>
                  <button aria-label={`One unit fewer in layer ${column}`} disabled={units <= 1} onClick={() => resize(column - 1, -1)}>
                    −
                  </button>
                </span>
              )}
              {Array.from({ length: units }, (_, unit) => (
                <button
                  class="node"
                  style={{ left: `${x(column)}px`, top: `${y(column, unit)}px` }}
                  aria-label={`${name(column, unit)}: show it large`}
                  onMouseEnter={() => setOver({ column, unit })}
                  onMouseLeave={() => setOver(undefined)}
                  onFocus={() => setOver({ column, unit })}
                  onBlur={() => setOver(undefined)}
                  onClick={() => column > 0 && setEdge({ layer: column - 1, unit, source: -1 })}
                >
                  <Heat bytes={picture.maps[column]![unit]} side={picture.small} size={UNIT} label="" />
                </button>
              ))}
            </>
          ))}
        {over && (
          <div class="large card" style={{ left: `${Math.min(width - 150, Math.max(0, x(over.column) - 60))}px`, top: `${TOP + 46}px` }}>
            <Heat bytes={picture.maps[over.column]?.[over.unit]} side={picture.small} size={130} label={name(over.column, over.unit)} />
            {name(over.column, over.unit)}
            {over.column > 0 && <small>bias {number(picture.biases[over.column - 1]?.[over.unit], 3)}</small>}
          </div>
        )}
      </div>
      {edge && value !== undefined ? (
        <label class="field row">
          <span class="label">
            {edge.source < 0
              ? `bias of ${name(edge.layer + 1, edge.unit)}`
              : `weight ${name(edge.layer, edge.source)} → ${name(edge.layer + 1, edge.unit)}`}
          </span>
          <input
            type="number"
            step="0.1"
            value={Number(value.toFixed(3))}
            onChange={(event) => setWeight(edge.layer, edge.unit, edge.source, Number(event.currentTarget.value))}
          />
          <button class="quiet" onClick={() => setEdge(undefined)} aria-label="Close">
            ✕
          </button>
        </label>
      ) : (
        <p class="hint">Blue weights are positive, orange ones negative. Click a line or a unit to edit it.</p>
      )}
    </>
  );
}
